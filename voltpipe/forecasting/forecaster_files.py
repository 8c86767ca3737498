"""Files of a forecaster: config and weights, which cannot contain code."""

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
    """A forecaster that cannot be loaded, or an input that does not fit it."""


class ForecasterConfig(FrozenModel):
    """Config of a forecaster, saved next to its weights."""

    architecture: str = Field(description="Name in `voltpipe.forecasting.module_registry.MODULES`.")
    architecture_settings: dict[str, Any] = Field(description="Settings of the architecture.")
    context_samples: int
    horizons_samples: tuple[int, ...]
    rate_hz: float
    channel_names: tuple[str, ...]
    organoids: tuple[str, ...] = Field(description="Training organoids.")
    mean_mv: tuple[float, ...] = Field(description="Mean of each channel in mV, averaged over the training recordings.")
    sd_mv: tuple[float, ...] = Field(description="SD of each channel in mV, averaged over the training recordings.")
    conditioning: dict[str, Any] = Field(
        {}, description="Conditioning of the training recordings, by setting; empty if none."
    )

    @property
    def dimensions(self) -> Dimensions:
        """Sizes of the module."""
        return Dimensions(self.context_samples, self.horizons_samples, len(self.channel_names), len(self.organoids))


Converter = Callable[[dict[str, Tensor]], dict[str, Tensor]]
WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "forecaster.json"
_Part = TypeVar("_Part", PredictiveDistribution, NoveltyDetector)
"""Optional part of a forecaster: tables, and a config with their sizes."""


def write_part(folder: Path, name: str, part: PredictiveDistribution | NoveltyDetector) -> None:
    """Write the tables (safetensors) and the config (JSON) of an optional part."""
    write_tensors(folder / f"{name}.safetensors", part.state_dict())
    write_json(folder / f"{name}.json", part.config.model_dump(mode="json"))


def read_distribution(folder: Path) -> PredictiveDistribution | None:
    """Read the predictive distribution; None if there is none."""
    return _read_part(
        folder, "distribution", lambda config: PredictiveDistribution(DistributionConfig.model_validate_json(config))
    )


def read_novelty(folder: Path) -> NoveltyDetector | None:
    """Read the novelty detector; None if there is none."""
    return _read_part(folder, "familiarity", lambda config: NoveltyDetector(NoveltyConfig.model_validate_json(config)))


def _read_part(folder: Path, name: str, build: Callable[[bytes], _Part]) -> _Part | None:
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        part = build(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ForecasterError(
            f"{path} is not a valid {name} config: {error}. Save or download the forecaster again.",
            code="forecaster-file-damaged",
        ) from error
    part.load_state_dict(read_weights(folder / f"{name}.safetensors", part.state_dict()))
    return part


def read_config(path: Path) -> tuple[ForecasterConfig, Converter | None]:
    """Read a config and, for forecasters of an earlier version, a converter of their weights.

    Raises:
        ForecasterError: the file is missing or damaged, or its architecture is unknown.
    """
    try:
        config = ForecasterConfig.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ForecasterError(
            f"{path} is not a valid forecaster config: {error}. Save or download the forecaster again.",
            code="forecaster-file-damaged",
        ) from error
    n_channels = len(config.channel_names)
    if config.architecture not in MODULES:
        raise ForecasterError(
            f"{path} has the unknown architecture {config.architecture!r}. "
            f"Known architectures: {', '.join(MODULES)}. "
            "Install the version of voltpipe that saved it.",
            code="architecture-unknown",
        )
    if not len(config.mean_mv) == len(config.sd_mv) == n_channels:
        raise ForecasterError(
            f"{path} has {len(config.mean_mv)} means and {len(config.sd_mv)} SDs for {n_channels} channels. "
            "Expected one of each per channel. Save or download the forecaster again.",
            code="calibration-mismatched",
        )
    spikes_are_visible = config.architecture_settings.get("spikes_are_visible", True)
    if config.architecture != Architecture.COUPLED_CNN_LSTM or spikes_are_visible:
        return config, None
    settings = settings_from_coupled(config.architecture_settings)
    lagged = {"architecture": Architecture.LAGGED_CNN_LSTM.value, "architecture_settings": settings}
    kernel_samples = settings.get("kernel_samples", LaggedCnnLstmSettings().kernel_samples)
    return config.model_copy(update=lagged), lambda weights: weights_from_coupled(weights, kernel_samples)


def read_weights(path: Path, expected: dict[str, Tensor], convert: Converter | None = None) -> dict[str, Tensor]:
    """Read weights and check their names, shapes, types and values.

    Args:
        path: safetensors file.
        expected: tensors with the expected names, shapes and types.
        convert: conversion of weights that an earlier version saved.

    Raises:
        ForecasterError: the file is missing or damaged, does not match, or contains NaN or infinity.
    """
    try:
        weights: dict[str, Tensor] = load_file(path)
        weights = convert(weights) if convert else weights
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ForecasterError(
            f"{path} is not a valid weights file: {error}. Save or download the forecaster again.",
            code="forecaster-file-damaged",
        ) from error
    found, wanted = ({n: (tuple(t.shape), t.dtype) for n, t in w.items()} for w in (weights, expected))
    if found != wanted:
        different = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
        raise ForecasterError(
            f"{path} does not match its config. "
            + "; ".join(f"{name}: found {found.get(name)}, expected {wanted.get(name)}" for name in different[:3])
            + ". Train again if another version of voltpipe saved it.",
            code="weights-mismatched",
        )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise ForecasterError(
            f"{path} contains NaN or infinity. Use another version of the forecaster, or train again.",
            code="weights-not-finite",
        )
    return weights


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name to a safetensors file.

    Raises:
        OSError: the file cannot be written, as on a full disk. The error of safetensors is converted.
    """
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}.") from error
