"""The files of a forecaster. Nothing in them can run code."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from voltpipe.files import write_json
from voltpipe.forecasting.architectures.registry import MODULES
from voltpipe.forecasting.distribution.distribution import Distribution, DistributionConfig
from voltpipe.forecasting.familiarity.familiarity import Familiarity, FamiliarityConfig
from voltpipe.forecasting.forecaster_config import ForecasterConfig, ForecasterError
from voltpipe.forecasting.tensor_files import write_tensors

WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "forecaster.json"
_Part = TypeVar("_Part", Distribution, Familiarity)
"""What a forecaster may have beside its weights: tables, and the config that says their sizes."""


def write_part(folder: Path, name: str, part: Distribution | Familiarity) -> None:
    """Write its tables (safetensors) and its config (JSON)."""
    write_tensors(folder / f"{name}.safetensors", part.state_dict())
    write_json(folder / f"{name}.json", part.config.model_dump(mode="json"))


def read_distribution(folder: Path) -> Distribution | None:
    """The predictive distribution, or None where there is none."""
    return _read_part(folder, "distribution", lambda said: Distribution(DistributionConfig.model_validate_json(said)))


def read_familiarity(folder: Path) -> Familiarity | None:
    """What it recognises its training rows by, or None where it does not."""
    return _read_part(folder, "familiarity", lambda said: Familiarity(FamiliarityConfig.model_validate_json(said)))


def _read_part(folder: Path, name: str, made: Callable[[bytes], _Part]) -> _Part | None:
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        part = made(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ForecasterError(
            f"{path} is not a {name}'s ({error}); save or download it again", code="forecaster-file-damaged"
        ) from error
    part.load_state_dict(read_weights(folder / f"{name}.safetensors", part.state_dict()))
    return part


def read_config(path: Path) -> ForecasterConfig:
    """The config, of an architecture that exists."""
    try:
        config = ForecasterConfig.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ForecasterError(
            f"{path} is not a forecaster's config ({error}); save or download it again", code="forecaster-file-damaged"
        ) from error
    n_channels = len(config.channel_names)
    if config.architecture not in MODULES:
        raise ForecasterError(
            f"{path} names the architecture {config.architecture!r}; known are {', '.join(MODULES)}",
            code="architecture-unknown",
        )
    if not len(config.mean_mv) == len(config.sd_mv) == n_channels:
        raise ForecasterError(
            f"{path} has {len(config.mean_mv)} means and {len(config.sd_mv)} SDs for {n_channels} channels",
            code="calibration-mismatched",
        )
    return config


def read_weights(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the names, shapes and types that are expected, all finite."""
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ForecasterError(
            f"{path} is not a weights file ({error}); save or download it again", code="forecaster-file-damaged"
        ) from error
    found, wanted = ({n: (tuple(t.shape), t.dtype) for n, t in w.items()} for w in (weights, expected))
    if found != wanted:
        odd = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise ForecasterError(
            f"{path} does not fit its config; train again if another version of voltpipe saved it. "
            + "; ".join(f"{name}: found {found.get(name)}, expected {wanted.get(name)}" for name in odd[:3]),
            code="weights-mismatched",
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise ForecasterError(
            f"{path} holds NaN or infinity; take another version, or train again", code="weights-not-finite"
        )
    return weights
