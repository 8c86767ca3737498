"""Interface of the torch module inside a forecaster, and of its optional capabilities.

A module keeps only weights and parameters fitted in closed form; data of a recording or a batch are arguments of each
call. Each optional capability is a Protocol, which callers test with `isinstance`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from voltpipe.forecasting.connectivity.connectivity import Connectivity
from voltpipe.forecasting.connectivity.coupling_state import FoldCouplings
from voltpipe.forecasting.connectivity.spike_triggered_average import SpikeTriggeredSums
from voltpipe.forecasting.optimizer_recipe import Recipe
from voltpipe.schema import Settings
from voltpipe.windows.window_set import WindowSet


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a forecast."""

    context_samples: int
    horizons_samples: tuple[int, ...]
    """Horizons of the forecast, in samples, ascending."""
    n_channels: int
    n_organoids: int = 1
    """Number of training organoids."""

    def target_rows(self) -> list[int]:
        """Return the rows of the targets in a segment that begins with the context."""
        return [self.context_samples - 1 + horizon for horizon in self.horizons_samples]


class NoSettings(Settings):
    """Settings of modules that have none."""


class ForecastModule(nn.Module, ABC):
    """Module that maps a history to forecasts, both in z-units.

    Class attributes:
        settings_type: settings needed to rebuild the module.
        only_horizons: the horizons in samples that the module supports; None if it supports any.
        bound_to_channels: whether weights belong to specific channels. If not, the module accepts any number of
            channels in any order, and its forecasts in mV do not depend on the calibration of the z-units.
    """

    settings_type: ClassVar[type[Settings]] = NoSettings
    only_horizons: ClassVar[tuple[int, ...] | None] = None
    bound_to_channels: bool = True

    def __init__(self, settings: Settings, dimensions: Dimensions) -> None:
        super().__init__()
        self.settings = settings
        self.dimensions = dimensions

    def fit(self, window_set: WindowSet) -> None:
        """Fit the parameters that have a closed form on the training rows. By default, there are none."""

    @abstractmethod
    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast in z-units; mean and SD in mV are the calibration of the z-units."""


class TrainableModule(ForecastModule):
    """Module with weights trained by gradient descent, and its default recipe."""

    recipe: ClassVar[Recipe]

    def begin_from(self, other: "TrainableModule", window_set: WindowSet) -> None:
        """Copy the weights of another module of the same sizes, instead of calling `fit`."""
        self.load_state_dict(other.state_dict())

    def training_loss(
        self,
        seen_z: Float[Tensor, "batch time channel"],
        true_z: Float[Tensor, "batch time channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, ""]:
        """Return the mean squared error at the targets, in z-units.

        Args:
            seen_z: inputs: windows with all samples up to the largest horizon, with noise added.
            true_z: targets: the same windows without noise.
            mean_mv: mean of the calibration of the z-units.
            sd_mv: standard deviation of the calibration of the z-units.
        """
        forecast = self(seen_z[:, : self.dimensions.context_samples], mean_mv, sd_mv)
        return torch.mean((forecast.float() - true_z[:, self.dimensions.target_rows()]) ** 2)


@runtime_checkable
class EstimatesCoupling(Protocol):
    """Capability: estimates of the connectivity of the training organoids."""

    def couplings(self) -> tuple[Connectivity, ...]:
        """Return the connectivity of each organoid in the order of the config; empty if no spikes were detected."""


@runtime_checkable
class Adaptable(EstimatesCoupling, Protocol):
    """Capability: forecasts with a coupling between channels, the argument `coupling_mv` of each call.

    A coupling is a tensor (window, sender type, sender, receiver) in mV. If all windows share it, the first axis has
    length 1.
    """

    def coupling_of(self, organoid: int | None, n_channels: int) -> Float[Tensor, "1 2 sender receiver"]:
        """Return the coupling of a training organoid, given by number, or the expected one of an unknown organoid."""

    def spike_triggered_sums(self, voltage_mv: Float[Tensor, "time channel"]) -> SpikeTriggeredSums | None:
        """Compute the spike-triggered sums of a segment in mV; None if no spikes were detected in training."""

    def adapted_coupling(self, sums: SpikeTriggeredSums) -> Float[Tensor, "1 2 sender receiver"]:
        """Estimate the coupling of an unknown organoid from the spike-triggered sums of its past."""

    def window_couplings(self, window_set: WindowSet) -> FoldCouplings | None:
        """Estimate the couplings for training and validation windows; None if no spikes were detected."""


@runtime_checkable
class Streams(Protocol):
    """Capability: forecasts sample by sample, with a state that replaces earlier samples."""

    memory_samples: int

    def next_forecast_mv(
        self,
        voltage_mv: Float[Tensor, "batch channel"],
        past: Any,
        coupling_mv: Float[Tensor, "#batch 2 channel channel"] | None = None,
    ) -> tuple[Float[Tensor, "batch horizon channel"], Any]:
        """Forecast in mV after one more sample, and return the `past` for the next call."""


@runtime_checkable
class HasVoltageFilters(Protocol):
    """Capability: temporal filters of each channel's own voltage in the first layer."""

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Return the first-layer temporal filters, most recent sample first."""
