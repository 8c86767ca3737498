"""What a forecaster asks of the torch module inside it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from voltpipe.forecasting.coupling.coupling import Coupling
from voltpipe.forecasting.coupling.evidence import Evidence
from voltpipe.forecasting.recipe import Recipe
from voltpipe.settings import Settings
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

    @classmethod
    def settings_for(cls, window_set: WindowSet) -> Settings:
        """The settings that suit the training rows."""
        return cls.settings_type()

    def fit(self, window_set: WindowSet) -> None:
        """Set what is estimated from the training rows in closed form, before any gradient descent."""

    def for_network(self, network: int | None, n_channels: int) -> "ForecastModule":
        """The same weights as they are to be used on a network that was trained on, by number, or on an unknown one."""
        return self

    def evidence(self, voltage_mv: Float[Tensor, "time channel"]) -> Evidence | None:
        """What voltages show of the coupling between their channels; None where that is of no use."""
        return None

    def adapted_to(self, evidence: Evidence) -> "ForecastModule":
        """The same weights as they are to be used on an unknown network whose own past shows this."""
        return self

    def couplings(self) -> tuple[Coupling, ...]:
        """Of each network that was trained on; none where no coupling is made use of."""
        return ()

    def voltage_filters(self) -> Float[Tensor, "filter lag"] | None:
        """What the first convolution over time weighs a channel's own voltage by, the last sample first.

        None where there is no such convolution.
        """
        return None

    @abstractmethod
    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast in z-units. Mean and standard deviation in mV are those that made the z-units."""


class TrainedModule(ForecastModule):
    """A module whose weights are found by gradient descent, with the recipe that does it by default."""

    recipe: ClassVar[Recipe]

    def begin_from(self, other: "TrainedModule", window_set: WindowSet) -> None:
        """Instead of `fit`: take over what another module of the same sizes has learned."""
        self.load_state_dict(other.state_dict())

    def prepare(self, window_set: WindowSet) -> None:
        """Get ready to learn from windows; called each time a training begins or goes on."""

    def recognise(self, windows: Int64[np.ndarray, " window"]) -> None:
        """Take note of which windows come next, by their positions in the index."""

    def training_loss(
        self,
        seen_z: Float[Tensor, "batch time channel"],
        true_z: Float[Tensor, "batch time channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, ""]:
        """Mean squared error at the targets in z-units.

        Args:
            seen_z: windows with all samples up to the largest horizon, as the module may see them: with noise added.
            true_z: the same windows without noise, for the targets.
            mean_mv: what made the z-units.
            sd_mv: likewise.
        """
        forecast = self(seen_z[:, : self.dimensions.context_samples], mean_mv, sd_mv)
        return torch.mean((forecast.float() - true_z[:, self.dimensions.target_rows()]) ** 2)
