"""Autoregression: each channel's future as a weighted sum of its own past."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from voltpipe.forecasting.baselines.ridge import (
    DEFAULT_SHRINKAGE,
    Piece,
    best_by_horizon,
    equations,
    orders_up_to,
    ridges,
)
from voltpipe.forecasting.module import Dimensions, ForecastModule
from voltpipe.forecasting.training_rows import Stretch
from voltpipe.settings import Settings
from voltpipe.windows.window_set import WindowSet


class AutoregressionSettings(Settings):
    """How far back it looks."""

    n_lags: int = Field(64, ge=1, le=1000, description="most samples of its own past that a forecast uses")


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
        """Solve the normal equations of the training rows; number of lags and shrinkage are validation's choice.

        Both are chosen by horizon, over all channels. Without validation rows all lags are used.
        """
        training, validation = equations(window_set, self.piece, n_before=self.n_lags - 1)
        solution = training.solve(DEFAULT_SHRINKAGE, self.n_lags)
        if validation:
            candidates = ridges(training, orders_up_to(self.n_lags))
            solution = best_by_horizon(candidates, validation, len(self.dimensions.horizons_samples))
        self.weights.copy_(solution[:, :-1])
        self.intercepts.copy_(solution[:, -1])

    def piece(self, stretch: Stretch, step: int) -> Piece:
        """Lags (oldest first) and what followed, of every n-th row of a stretch."""
        n_before, horizons = self.n_lags - 1, self.dimensions.horizons_samples
        samples = stretch.samples_z.T
        n_rows = samples.shape[1] - n_before - horizons[-1]
        lags = samples[:, : n_before + n_rows].unfold(1, self.n_lags, 1)[:, ::step]
        ahead = [samples[:, n_before + horizon :][:, :n_rows:step] for horizon in horizons]
        return lags, torch.stack(ahead, dim=-1)

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Weigh the last samples of each channel."""
        lags = history_z[:, -self.n_lags :]
        return torch.einsum("blc,clh->bhc", lags, self.weights) + self.intercepts.T
