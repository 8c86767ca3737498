"""Autoregression: each channel's future as a weighted sum of its own past."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from voltpipe.forecasting.baselines.ridge import ridge
from voltpipe.forecasting.module import Dimensions, ForecastModule
from voltpipe.forecasting.training_rows import training_stretches
from voltpipe.settings import Settings
from voltpipe.windows.window_set import WindowSet


class AutoregressionSettings(Settings):
    """How far back it looks."""

    n_lags: int = Field(20, ge=1, le=1000, description="samples of its own past that a forecast uses")


class Autoregression(ForecastModule):
    """One ridge regression a channel and horizon on the channel's last samples, in z-units."""

    settings_type: ClassVar[type[Settings]] = AutoregressionSettings

    weights: Tensor
    intercepts: Tensor

    def __init__(self, settings: AutoregressionSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        self.n_lags = min(settings.n_lags, dimensions.context_samples)
        n_horizons = len(dimensions.horizons_samples)
        self.register_buffer("weights", torch.zeros(dimensions.n_channels, self.n_lags, n_horizons))
        self.register_buffer("intercepts", torch.zeros(dimensions.n_channels, n_horizons))

    def fit(self, window_set: WindowSet) -> None:
        """Solve the normal equations of the training rows."""
        weights, intercepts = ridge(self._pieces(window_set))
        self.weights.copy_(weights)
        self.intercepts.copy_(intercepts)

    def _pieces(self, window_set: WindowSet) -> Iterator[tuple[Tensor, Tensor]]:
        n_before, horizons = self.n_lags - 1, self.dimensions.horizons_samples
        for stretch in training_stretches(window_set, n_before=n_before, n_after=horizons[-1]):
            samples = stretch.samples_z.T
            n_rows = samples.shape[1] - n_before - horizons[-1]
            lags = samples[:, : n_before + n_rows].unfold(1, self.n_lags, 1)
            ahead = [samples[:, n_before + horizon :][:, :n_rows] for horizon in horizons]
            yield lags, torch.stack(ahead, dim=-1)

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Weigh the last samples of each channel."""
        lags = history_z[:, -self.n_lags :]
        return torch.einsum("blc,clh->bhc", lags, self.weights) + self.intercepts.T
