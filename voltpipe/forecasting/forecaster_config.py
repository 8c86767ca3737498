"""What is to be known of a forecaster beside its weights."""

from typing import Any

from pydantic import Field

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.module import Dimensions
from voltpipe.settings import Settings


class ForecasterError(VoltpipeError):
    """A forecaster that cannot be loaded, or a recording that it is not for."""


class ForecasterConfig(Settings):
    """What stands beside the weights."""

    architecture: str = Field(description="a name in `voltpipe.forecasting.architectures.registry.MODULES`")
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
