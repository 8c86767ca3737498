"""Vector autoregression: each channel's future as a weighted sum of all channels' past."""

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


class VectorAutoregressionSettings(Settings):
    """How far back it looks."""

    n_lags: int = Field(3, ge=1, le=100, description="samples of every channel's past that a forecast uses")


class VectorAutoregression(ForecastModule):
    """One ridge regression for all channels and horizons on the last samples of all channels, in z-units."""

    settings_type: ClassVar[type[Settings]] = VectorAutoregressionSettings

    weights: Tensor
    intercepts: Tensor

    def __init__(self, settings: VectorAutoregressionSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        self.n_lags = min(settings.n_lags, dimensions.context_samples)
        n_outputs = len(dimensions.horizons_samples) * dimensions.n_channels
        self.register_buffer("weights", torch.zeros(self.n_lags * dimensions.n_channels, n_outputs))
        self.register_buffer("intercepts", torch.zeros(n_outputs))

    def fit(self, window_set: WindowSet) -> None:
        """Solve the normal equations of the training rows."""
        weights, intercepts = ridge(self._pieces(window_set))
        self.weights.copy_(weights[0])
        self.intercepts.copy_(intercepts[0])

    def _pieces(self, window_set: WindowSet) -> Iterator[tuple[Tensor, Tensor]]:
        n_before, horizons = self.n_lags - 1, self.dimensions.horizons_samples
        for stretch in training_stretches(window_set, n_before=n_before, n_after=horizons[-1]):
            samples = stretch.samples_z
            n_rows = samples.shape[0] - n_before - horizons[-1]
            lags = [samples[lag:][:n_rows] for lag in range(self.n_lags)]
            ahead = [samples[n_before + horizon :][:n_rows] for horizon in horizons]
            yield torch.cat(lags, dim=1)[None], torch.cat(ahead, dim=1)[None]

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Weigh the last samples of all channels."""
        forecast = history_z[:, -self.n_lags :].flatten(1) @ self.weights + self.intercepts
        return forecast.reshape(len(history_z), -1, self.dimensions.n_channels)
