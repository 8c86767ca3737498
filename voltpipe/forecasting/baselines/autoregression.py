"""Autoregression: each channel's future as a weighted sum of its own past."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from voltpipe.forecasting.baselines.ridge import (
    RegressionData,
    accumulate_normal_equations,
    candidate_orders,
    fit_ridge,
)
from voltpipe.forecasting.forecast_module import Dimensions, ForecastModule
from voltpipe.schema import Settings
from voltpipe.windows.split_segments import Segment
from voltpipe.windows.window_set import WindowSet


class AutoregressionSettings(Settings):
    """Settings of the autoregression."""

    n_lags: int = Field(64, ge=1, le=1000, description="Maximum number of past samples of a channel in its forecast.")


class Autoregression(ForecastModule):
    """Ridge regression for each channel and horizon on the last samples of that channel, in z-units."""

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
        """Fit on the training rows, with number of lags and shrinkage chosen on the validation rows.

        Both are chosen for each horizon, over all channels. Without validation rows, all lags are used.
        """
        training, validation = accumulate_normal_equations(window_set, self.regression_data, n_before=self.n_lags - 1)
        orders = candidate_orders(self.n_lags)
        solution = fit_ridge(training, validation, orders, len(self.dimensions.horizons_samples))
        self.weights.copy_(solution[:, :-1])
        self.intercepts.copy_(solution[:, -1])

    def regression_data(self, segment: Segment, step: int) -> RegressionData:
        """Return the lags (oldest first) and the targets of every n-th row of a segment."""
        n_before, horizons = self.n_lags - 1, self.dimensions.horizons_samples
        samples = segment.samples_z.T
        n_rows = samples.shape[1] - n_before - horizons[-1]
        lags = samples[:, : n_before + n_rows].unfold(1, self.n_lags, 1)[:, ::step]
        targets = [samples[:, n_before + horizon :][:, :n_rows:step] for horizon in horizons]
        return lags, torch.stack(targets, dim=-1)

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast each channel from its own last samples."""
        lags = history_z[:, -self.n_lags :]
        return torch.einsum("blc,clh->bhc", lags, self.weights) + self.intercepts.T


class VectorAutoregressionSettings(Settings):
    """Settings of the vector autoregression."""

    n_lags: int = Field(8, ge=1, le=100, description="Maximum number of past samples of every channel in a forecast.")


class VectorAutoregression(ForecastModule):
    """Ridge regression for all channels and horizons on the last samples of all channels, in z-units."""

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
        """Fit on the training rows, with number of lags and shrinkage chosen on the validation rows.

        Both are chosen for each horizon, over all channels. Without validation rows, all lags are used.
        """
        training, validation = accumulate_normal_equations(
            window_set, self.regression_data, n_before=self.n_lags - 1, thinned=False
        )
        orders = [n_lags * self.dimensions.n_channels for n_lags in candidate_orders(self.n_lags)]
        solution = fit_ridge(training, validation, orders, len(self.dimensions.horizons_samples))
        self.weights.copy_(solution[0, :-1])
        self.intercepts.copy_(solution[0, -1])

    def regression_data(self, segment: Segment, step: int) -> RegressionData:
        """Return the lags (oldest first) and the targets of every n-th row of a segment."""
        n_before, horizons = self.n_lags - 1, self.dimensions.horizons_samples
        samples = segment.samples_z
        n_rows = samples.shape[0] - n_before - horizons[-1]
        lags = [samples[lag:][:n_rows:step] for lag in range(self.n_lags)]
        targets = [samples[n_before + horizon :][:n_rows:step] for horizon in horizons]
        return torch.cat(lags, dim=1)[None], torch.cat(targets, dim=1)[None]

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast from the last samples of all channels."""
        forecast = history_z[:, -self.n_lags :].flatten(1) @ self.weights + self.intercepts
        return forecast.reshape(len(history_z), -1, self.dimensions.n_channels)
