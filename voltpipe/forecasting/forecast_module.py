"""The torch module inside a forecaster: what every module does, and what only some can do.

A module keeps weights and what was fitted in closed form; nothing that belongs to one recording or one batch. What a
call depends on is handed to it. A capability that only some modules have is a Protocol below, which callers test with
`isinstance`.
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
from voltpipe.forecasting.recipe import Recipe
from voltpipe.schema import Settings
from voltpipe.windows.window_set import WindowSet


@dataclass(frozen=True)
class Dimensions:
    """The sizes of a forecast."""

    context_samples: int
    horizons_samples: tuple[int, ...]
    """How many samples ahead the forecasts lie, ascending."""
    n_channels: int
    n_networks: int = 1
    """How many organoids the forecaster is trained on."""

    def target_rows(self) -> list[int]:
        """Where the targets lie in a stretch that begins with the context."""
        return [self.context_samples - 1 + horizon for horizon in self.horizons_samples]


class NoSettings(Settings):
    """For modules that have nothing to set."""


class ForecastModule(nn.Module, ABC):
    """Maps a history to forecasts, both in z-units.

    Class attributes:
        settings_type: the sizes that must be known to build the module again.
        only_horizons: the horizons it is made for, where it can do no others.
        bound_to_channels: whether weights belong to certain channels. One that is not takes any number of channels
            in any order, and its forecasts in mV do not depend on the calibration that made the z-units.
    """

    settings_type: ClassVar[type[Settings]] = NoSettings
    only_horizons: ClassVar[tuple[int, ...] | None] = None
    bound_to_channels: bool = True

    def __init__(self, settings: Settings, dimensions: Dimensions) -> None:
        super().__init__()
        self.settings = settings
        self.dimensions = dimensions

    def fit(self, window_set: WindowSet) -> None:
        """Estimate from the training rows what has a closed form. Nothing, unless a module says otherwise."""

    @abstractmethod
    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast in z-units. Mean and standard deviation in mV are those that made the z-units."""


class TrainableModule(ForecastModule):
    """A module whose weights are found by gradient descent, with its default recipe."""

    recipe: ClassVar[Recipe]

    def begin_from(self, other: "TrainableModule", window_set: WindowSet) -> None:
        """Take over what another module of the same sizes has learned, instead of `fit`."""
        self.load_state_dict(other.state_dict())

    def training_loss(
        self,
        seen_z: Float[Tensor, "batch time channel"],
        true_z: Float[Tensor, "batch time channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, ""]:
        """Mean squared error at the targets in z-units.

        Args:
            seen_z: windows with all samples up to the largest horizon, noise added: the inputs.
            true_z: the same windows without noise: the targets.
            mean_mv: the means that made the z-units.
            sd_mv: the standard deviations that made them.
        """
        forecast = self(seen_z[:, : self.dimensions.context_samples], mean_mv, sd_mv)
        return torch.mean((forecast.float() - true_z[:, self.dimensions.target_rows()]) ** 2)


@runtime_checkable
class EstimatesCoupling(Protocol):
    """Capability: knows the coupling of the organoids that it was trained on."""

    def couplings(self) -> tuple[Connectivity, ...]:
        """The coupling of each organoid in the order of the config; none where no spike is visible."""


@runtime_checkable
class Adaptable(EstimatesCoupling, Protocol):
    """Capability: forecasts with a coupling between channels, handed to each call as the argument `coupling_mv`.

    A coupling is a tensor (window, type of sender, sender, receiver) in mV; one that all windows share has one window.
    """

    def coupling_of(self, network: int | None, n_channels: int) -> Float[Tensor, "1 2 sender receiver"]:
        """The coupling of an organoid that was trained on, by number, or the expected one of an unknown organoid."""

    def evidence(self, voltage_mv: Float[Tensor, "time channel"]) -> SpikeTriggeredSums | None:
        """What a segment shows of the coupling between its channels; None where no spike is visible."""

    def adapted_coupling(self, evidence: SpikeTriggeredSums) -> Float[Tensor, "1 2 sender receiver"]:
        """The coupling of an unknown organoid, given what its past shows."""

    def window_couplings(self, window_set: WindowSet) -> FoldCouplings | None:
        """The couplings that windows are trained and validated with; None where no spike is visible."""


@runtime_checkable
class Streams(Protocol):
    """Capability: forecasts sample by sample, from what it remembers of the samples before."""

    memory_samples: int

    def next_forecast_mv(
        self,
        voltage_mv: Float[Tensor, "batch channel"],
        past: Any,
        coupling_mv: Float[Tensor, "#batch 2 channel channel"] | None = None,
    ) -> tuple[Float[Tensor, "batch horizon channel"], Any]:
        """Forecast in mV after one more sample; also return what to hand back as `past` with the next one."""


@runtime_checkable
class HasVoltageFilters(Protocol):
    """Capability: its first layer filters each channel's own voltage over time."""

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """First-layer temporal filters, most recent sample first."""
