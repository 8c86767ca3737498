"""What networks have in common that learn from every step of a window, in mV."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.forecasting.module import TrainedModule


class EveryStepModule(TrainedModule):
    """A causal network that forecasts from each sample of a window, and so is supervised at each but the first few.

    Attributes:
        warm_up_samples: samples at a window's start that are not learned from.
    """

    warm_up_samples: int

    @abstractmethod
    def forecast_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in mV from each sample on, beginning at `first_sample`, knowing only what came before."""

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast from the last sample."""
        history_mv = history_z * sd_mv[:, None] + mean_mv[:, None]
        forecast_mv = self.forecast_mv(history_mv, history_z.shape[1] - 1)[:, 0]
        return (forecast_mv - mean_mv[:, None]) / sd_mv[:, None]

    def training_loss(
        self,
        seen_z: Float[Tensor, "batch time channel"],
        true_z: Float[Tensor, "batch time channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, ""]:
        """Mean squared error in z-units at the targets of every step after the warm-up."""
        context, horizons = self.dimensions.context_samples, self.dimensions.horizons_samples
        first = self.warm_up_samples
        forecast_mv = self.forecast_mv(seen_z[:, :context] * sd_mv[:, None] + mean_mv[:, None], first)
        forecast_z = (forecast_mv - mean_mv[:, None, None]) / sd_mv[:, None, None]
        targets_z = torch.stack([true_z[:, first + horizon :][:, : context - first] for horizon in horizons], dim=2)
        return torch.mean((forecast_z - targets_z) ** 2)
