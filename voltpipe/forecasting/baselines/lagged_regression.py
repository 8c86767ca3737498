"""Lagged regression on single recent samples, averages over older ones, and other channels where they help."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from voltpipe.forecasting.baselines.ridge import (
    NormalEquations,
    RegressionData,
    accumulate_normal_equations,
    fit_ridge,
    sum_by_horizon,
)
from voltpipe.forecasting.forecast_module import Dimensions, ForecastModule
from voltpipe.schema import Settings
from voltpipe.windows.split_segments import Segment
from voltpipe.windows.window_set import WindowSet

_MAX_COUPLING_SHARE = 0.5


class LaggedRegressionSettings(Settings):
    """Settings of the lagged regression: length and resolution of the past it uses."""

    single_lags: int = Field(
        64, ge=1, le=1000, description="Number of past samples of the channel itself that have a weight each."
    )
    coupling_single_lags: int = Field(
        4, ge=1, le=100, description="Number of past samples of all channels that have a weight each."
    )
    coupling_samples: int = Field(
        256, ge=1, le=10_000, description="Length of the past of all channels that is used, in samples."
    )
    own_growth: float = Field(
        1.3, gt=1, le=4, description="Growth factor of the averaging ranges over the older past of the channel itself."
    )
    coupling_growth: float = Field(
        2.0, gt=1, le=4, description="Growth factor of the averaging ranges over the older past of all channels."
    )


class LaggedRegression(ForecastModule):
    """Two-stage regression for signals without visible spikes: own past first, then the past of all channels.

    The first stage forecasts each channel from its own past. It averages a ridge regression for each channel and one
    shared by all channels, which on short recordings has a smaller error than either. The second stage is a ridge
    regression of the residuals on the past of all channels (the coupling). It is scaled by the share, at most a half
    and possibly zero, that minimizes the validation error. A share of a half averages the forecasts with and without
    coupling. Shrinkage and share are chosen for each horizon. Without validation rows, there is no coupling.
    """

    settings_type: ClassVar[type[Settings]] = LaggedRegressionSettings

    own_weights: Tensor
    coupling_weights: Tensor
    intercepts: Tensor
    mean_mv: Tensor
    sd_mv: Tensor

    def __init__(self, settings: LaggedRegressionSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        context, n_channels, n_horizons = (
            dimensions.context_samples,
            dimensions.n_channels,
            len(dimensions.horizons_samples),
        )
        self.own_ranges = _lag_ranges(min(settings.single_lags, context), context, settings.own_growth)
        longest = min(settings.coupling_samples, context)
        self.coupling_ranges = _lag_ranges(
            min(settings.coupling_single_lags, longest), longest, settings.coupling_growth
        )
        n_coupling = n_channels * len(self.coupling_ranges)
        self.register_buffer("own_weights", torch.zeros(n_channels, len(self.own_ranges), n_horizons))
        self.register_buffer("coupling_weights", torch.zeros(n_coupling, n_horizons * n_channels))
        self.register_buffer("intercepts", torch.zeros(n_horizons, n_channels))
        self.register_buffer("mean_mv", torch.zeros(n_channels))
        self.register_buffer("sd_mv", torch.ones(n_channels))

    def fit(self, window_set: WindowSet) -> None:
        """Fit the weights of the own past, then the coupling, on the training rows."""
        recordings = torch.tensor(sorted({recording for recording, _, _ in window_set.train_rows()})).numpy()
        mean_mv, sd_mv = window_set.calibration_mv(recordings)
        self.mean_mv.copy_(mean_mv.mean(0))
        self.sd_mv.copy_(sd_mv.mean(0))
        self.coupling_weights.zero_()
        n_horizons, n_before = len(self.dimensions.horizons_samples), self.dimensions.context_samples - 1
        training, validation = accumulate_normal_equations(window_set, self._own_data, n_before=n_before)
        own = _fit_own_past(training, validation, n_horizons)
        self.own_weights.copy_(own[:, :-1])
        self.intercepts.copy_(own[:, -1].T)
        if validation:
            self._fit_coupling(*accumulate_normal_equations(window_set, self._coupling_data, n_before=n_before))

    def _fit_coupling(self, training: NormalEquations, validation: NormalEquations | None) -> None:
        assert validation
        n_horizons = len(self.dimensions.horizons_samples)
        coupling = fit_ridge(training, validation, [len(self.coupling_weights)], n_horizons)
        share = _coupling_share(coupling, validation, n_horizons)
        coupling = coupling * share.repeat_interleave(self.dimensions.n_channels)
        self.coupling_weights.copy_(coupling[0, :-1])
        self.intercepts.add_(coupling[0, -1].reshape(n_horizons, -1))

    def _own_data(self, segment: Segment, step: int) -> RegressionData:
        features, targets = self._features_and_targets(segment, self.own_ranges, step)
        return features.movedim(1, 0), targets.permute(2, 0, 1)

    def _coupling_data(self, segment: Segment, step: int) -> RegressionData:
        """Return the past of all channels as features, and the residuals of the own-past regression as outputs."""
        features, targets = self._features_and_targets(segment, self.coupling_ranges, step)
        own, _ = self._features_and_targets(segment, self.own_ranges, step)
        residuals = targets - torch.einsum("scf,cfh->shc", own, self.own_weights) - self.intercepts
        return features.flatten(1)[None], residuals.flatten(1)[None]

    def _features_and_targets(
        self, segment: Segment, ranges: tuple[tuple[int, int], ...], step: int
    ) -> tuple[Float[Tensor, "row channel feature"], Float[Tensor, "row horizon channel"]]:
        """Return features and targets of every n-th row that has a full context before it."""
        samples, horizons = segment.samples_z, self.dimensions.horizons_samples
        first = self.dimensions.context_samples - 1
        n_rows = len(samples) - first - horizons[-1]
        targets = [samples[first + horizon :][:n_rows:step] for horizon in horizons]
        return averages(samples[None, : first + n_rows], ranges, first, step)[0], torch.stack(targets, dim=1)

    def expected_z(
        self, history_z: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in z-units from each sample, starting at `first_sample`; samples before the history count as 0."""
        own = torch.einsum(
            "bscf,cfh->bshc", averages(history_z, self.own_ranges, first_sample), self.own_weights.to(history_z.dtype)
        )
        expected = own + self.intercepts
        if self.coupling_weights.any():
            features = averages(history_z, self.coupling_ranges, first_sample).flatten(2)
            expected = expected + (features @ self.coupling_weights).reshape(own.shape)
        return expected

    def expected_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in mV from each sample, starting at `first_sample`, with each channel's training mean and SD."""
        return self.expected_z((history_mv - self.mean_mv) / self.sd_mv, first_sample) * self.sd_mv + self.mean_mv

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast from the last sample."""
        return self.expected_z(history_z, history_z.shape[1] - 1)[:, 0]


def _fit_own_past(training: NormalEquations, validation: NormalEquations | None, n_horizons: int) -> Tensor:
    """Average the best regression for each channel and the best one shared by all channels."""
    orders = [training.gram.shape[-1] - 1]
    by_channel, shared = (
        fit_ridge(equations, validation, orders, n_horizons) for equations in (training, training.pooled())
    )
    return (by_channel + shared) / 2


def _coupling_share(coupling: Tensor, validation: NormalEquations, n_horizons: int) -> Float[Tensor, " horizon"]:
    """Return the share of the coupling, from 0 to a half, with the smallest validation error."""
    explained = sum_by_horizon((coupling * validation.cross).sum(1), n_horizons)
    size = sum_by_horizon((coupling * (validation.gram @ coupling)).sum(1), n_horizons)
    share: Tensor = explained / size.clamp(min=torch.finfo(size.dtype).tiny)
    return share.clamp(0, _MAX_COUPLING_SHARE)


def _lag_ranges(single_lags: int, n_samples: int, growth: float) -> tuple[tuple[int, int], ...]:
    """Return half-open ranges of lags: single lags first, then ranges of growing length."""
    ranges = [(lag, lag + 1) for lag in range(single_lags)]
    while ranges[-1][1] < n_samples:
        start = ranges[-1][1]
        ranges.append((start, min(n_samples, max(start + 1, round(start * growth)))))
    return tuple(ranges)


def averages(
    history: Float[Tensor, "batch time channel"], ranges: tuple[tuple[int, int], ...], first_sample: int, step: int = 1
) -> Float[Tensor, "batch step channel feature"]:
    """Average over each range of lags at every n-th sample, starting at `first_sample`."""
    longest, n_steps = ranges[-1][1], history.shape[1] - first_sample
    padded = pad(history, (0, 0, longest, 0))
    sums = pad(padded.cumsum(1), (0, 0, 1, 0))

    def at(rows: Tensor, lag: int) -> Tensor:
        return rows[:, longest + first_sample + 1 - lag :][:, :n_steps:step]

    def mean(start: int, stop: int) -> Tensor:
        # A single sample is read directly, without the rounding of the running sums.
        return at(padded, stop) if stop == start + 1 else (at(sums, start) - at(sums, stop)) / (stop - start)

    return torch.stack([mean(start, stop) for start, stop in ranges], dim=-1)
