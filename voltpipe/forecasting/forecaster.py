"""A forecaster: weights, and all that is needed to use them on a recording."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import Field
from torch import Tensor, nn

from voltpipe.errors import VoltpipeError
from voltpipe.settings import Settings

WEIGHTS_FILE = "weights.safetensors"
CONFIG_FILE = "forecaster.json"


class ForecasterError(VoltpipeError):
    """A forecaster that cannot be loaded, or a recording that it is not for."""


class ForecasterConfig(Settings):
    """What stands beside the weights."""

    architecture: str = Field(description="a name in `voltpipe.forecasting.architectures.ARCHITECTURES`")
    architecture_settings: dict[str, Any] = Field(description="that architecture's own settings")
    context_samples: int
    horizons_samples: tuple[int, ...]
    rate_hz: float
    channel_names: tuple[str, ...]
    organoids: tuple[str, ...] = Field(description="whose recordings it was trained on")
    mean_mv: tuple[float, ...] = Field(description="each channel's mean over the training recordings' calibrations")
    sd_mv: tuple[float, ...] = Field(description="likewise the standard deviation")


@dataclass(frozen=True)
class Forecaster:
    """Voltage in, voltage out. `module(history_z, mean_mv, sd_mv)` gives (batch, horizon, channel) in z-units."""

    module: nn.Module
    config: ForecasterConfig

    @property
    def horizons(self) -> tuple[int, ...]:
        """How many samples ahead it forecasts."""
        return self.config.horizons_samples

    def predict_z(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast in z-units. Mean and standard deviation in mV are those that made the z-units."""
        raise NotImplementedError

    def predict_mv(
        self, history_mv: Float32[np.ndarray, "*batch context channel"]
    ) -> Float32[np.ndarray, "*batch horizon channel"]:
        """Forecast in mV from the last `context_samples` samples in mV, of one window or of a batch."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and config (JSON) to a new folder, whole or not at all."""
        raise NotImplementedError

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Nothing in the folder can run code."""
        raise NotImplementedError


__all__ = ["Forecaster", "ForecasterConfig", "ForecasterError", "torch"]
