"""Persistence: a forecast of no change."""

from jaxtyping import Float
from torch import Tensor

from voltpipe.forecasting.forecast_module import ForecastModule


class Persistence(ForecastModule):
    """Baseline that repeats the last sample at every horizon."""

    bound_to_channels = False

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Repeat the last sample."""
        return history_z[:, -1:].expand(-1, len(self.dimensions.horizons_samples), -1)
