"""The files of a forecaster. Nothing in them can run code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.architectures.lagged_cnn_lstm import (
    LaggedCnnLstmSettings,
    settings_from_coupled,
    weights_from_coupled,
)
from voltpipe.forecasting.forecast_module import Dimensions
from voltpipe.forecasting.module_registry import MODULES
from voltpipe.forecasting.novelty import NoveltyConfig, NoveltyDetector
from voltpipe.forecasting.predictive_distribution import DistributionConfig, PredictiveDistribution
from voltpipe.forecasting.settings import Architecture
from voltpipe.lake.files import write_json
from voltpipe.schema import FrozenModel


class ForecasterError(VoltpipeError):
    """A forecaster that cannot be loaded, or a recording that it is not for."""


class ForecasterConfig(FrozenModel):
    """What stands beside the weights."""

    architecture: str = Field(description="a name in `voltpipe.forecasting.module_registry.MODULES`")
    architecture_settings: dict[str, Any] = Field(description="that architecture's own settings")
    context_samples: int
    horizons_samples: tuple[int, ...]
    rate_hz: float
    channel_names: tuple[str, ...]
    organoids: tuple[str, ...] = Field(description="whose recordings it was trained on")
    mean_mv: tuple[float, ...] = Field(description="each channel's mean over the training recordings' calibrations")
    sd_mv: tuple[float, ...] = Field(description="likewise the standard deviation")
    conditioning: dict[str, Any] = Field({}, description="how those were conditioned, by setting; empty: as recorded")

    @property
    def dimensions(self) -> Dimensions:
        """The sizes of the module."""
        return Dimensions(self.context_samples, self.horizons_samples, len(self.channel_names), len(self.organoids))


Converter = Callable[[dict[str, Tensor]], dict[str, Tensor]]
WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "forecaster.json"
_Part = TypeVar("_Part", PredictiveDistribution, NoveltyDetector)
"""An optional part of a forecaster: tables, and the config that says their sizes."""


def write_part(folder: Path, name: str, part: PredictiveDistribution | NoveltyDetector) -> None:
    """Write the tables (safetensors) and the config (JSON) of a part."""
    write_tensors(folder / f"{name}.safetensors", part.state_dict())
    write_json(folder / f"{name}.json", part.config.model_dump(mode="json"))


def read_distribution(folder: Path) -> PredictiveDistribution | None:
    """Read the predictive distribution; None if there is none."""
    return _read_part(
        folder, "distribution", lambda said: PredictiveDistribution(DistributionConfig.model_validate_json(said))
    )


def read_novelty(folder: Path) -> NoveltyDetector | None:
    """Read the novelty detector; None if there is none."""
    return _read_part(folder, "familiarity", lambda said: NoveltyDetector(NoveltyConfig.model_validate_json(said)))


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


def read_config(path: Path) -> tuple[ForecasterConfig, Converter | None]:
    """Read the config of an architecture that exists, and what converts weights that an earlier version saved."""
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
    if config.architecture != Architecture.COUPLED_CNN_LSTM or config.architecture_settings.get(
        "spikes_are_visible", 1
    ):
        return config, None
    settings = settings_from_coupled(config.architecture_settings)
    lagged = {"architecture": Architecture.LAGGED_CNN_LSTM.value, "architecture_settings": settings}
    kernel_samples = settings.get("kernel_samples", LaggedCnnLstmSettings().kernel_samples)
    return config.model_copy(update=lagged), lambda weights: weights_from_coupled(weights, kernel_samples)


def read_weights(path: Path, expected: dict[str, Tensor], convert: Converter | None = None) -> dict[str, Tensor]:
    """Read weights of the expected names, shapes and types, all finite."""
    try:
        weights: dict[str, Tensor] = load_file(path)
        weights = convert(weights) if convert else weights
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
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


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name.

    Raises:
        OSError: they cannot be written, as on a full disk; safetensors hides that among errors of its own.
    """
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
