"""Lagged regression: the recent past by samples, the older past by averages, and other channels where they help."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from voltpipe.forecasting.baselines.ridge import (
    DEFAULT_SHRINKAGE,
    NormalEquations,
    Piece,
    accumulate_normal_equations,
    best_by_horizon,
    fit_ridge,
    sum_by_horizon,
)
from voltpipe.forecasting.forecast_module import Dimensions, ForecastModule
from voltpipe.schema import Settings
from voltpipe.windows.split_segments import Segment
from voltpipe.windows.window_set import WindowSet

_MOST_COUPLING = 0.5


class LaggedRegressionSettings(Settings):
    """How far back it looks, and how finely."""

    single_lags: int = Field(64, ge=1, le=1000, description="samples of its own past that are weighed one by one")
    coupling_single_lags: int = Field(4, ge=1, le=100, description="likewise of all channels' past")
    coupling_samples: int = Field(256, ge=1, le=10_000, description="how far back all channels' past is weighed")
    own_growth: float = Field(1.3, gt=1, le=4, description="how much longer each average of its own older past is")
    coupling_growth: float = Field(2.0, gt=1, le=4, description="likewise of all channels' older past")


class LaggedRegression(ForecastModule):
    """For signals without visible spikes: what a channel's own past says, and all channels' past of what that leaves.

    The own part is the mean of a ridge regression a channel and one shared by all channels, which errs less than either
    where recordings are short. The coupling is a ridge regression on what that leaves, scaled down to what it is worth
    on validation rows, which may be nothing, and to half at most: the mean with the forecast that knows no coupling.
    Shrinkage and worth are chosen by horizon; without validation rows there is no coupling.
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
        self.own_ranges = _ranges(min(settings.single_lags, context), context, settings.own_growth)
        furthest = min(settings.coupling_samples, context)
        self.coupling_ranges = _ranges(min(settings.coupling_single_lags, furthest), furthest, settings.coupling_growth)
        n_coupling = n_channels * len(self.coupling_ranges)
        self.register_buffer("own_weights", torch.zeros(n_channels, len(self.own_ranges), n_horizons))
        self.register_buffer("coupling_weights", torch.zeros(n_coupling, n_horizons * n_channels))
        self.register_buffer("intercepts", torch.zeros(n_horizons, n_channels))
        self.register_buffer("mean_mv", torch.zeros(n_channels))
        self.register_buffer("sd_mv", torch.ones(n_channels))

    def fit(self, window_set: WindowSet) -> None:
        """Fit own past and coupling one after the other on the training rows."""
        numbers = torch.tensor(sorted({recording for recording, _, _ in window_set.train_rows()})).numpy()
        mean_mv, sd_mv = window_set.calibration_mv(numbers)
        self.mean_mv.copy_(mean_mv.mean(0))
        self.sd_mv.copy_(sd_mv.mean(0))
        self.coupling_weights.zero_()
        n_horizons, n_before = len(self.dimensions.horizons_samples), self.dimensions.context_samples - 1
        training, validation = accumulate_normal_equations(window_set, self._own_piece, n_before=n_before)
        own = _own(training, validation, n_horizons)
        self.own_weights.copy_(own[:, :-1])
        self.intercepts.copy_(own[:, -1].T)
        if validation:
            self._fit_coupling(*accumulate_normal_equations(window_set, self._coupling_piece, n_before=n_before))

    def _fit_coupling(self, training: NormalEquations, validation: NormalEquations | None) -> None:
        assert validation
        n_horizons = len(self.dimensions.horizons_samples)
        coupling = best_by_horizon(fit_ridge(training, [len(self.coupling_weights)]), validation, n_horizons)
        worth = _worth(coupling, validation, n_horizons)
        coupling = coupling * worth.repeat_interleave(self.dimensions.n_channels)
        self.coupling_weights.copy_(coupling[0, :-1])
        self.intercepts.add_(coupling[0, -1].reshape(n_horizons, -1))

    def _own_piece(self, stretch: Segment, step: int) -> Piece:
        features, ahead = self._rows(stretch, self.own_ranges, step)
        return features.movedim(1, 0), ahead.permute(2, 0, 1)

    def _coupling_piece(self, stretch: Segment, step: int) -> Piece:
        """What the own past leaves, by what all channels did."""
        features, ahead = self._rows(stretch, self.coupling_ranges, step)
        own, _ = self._rows(stretch, self.own_ranges, step)
        left = ahead - torch.einsum("scf,cfh->shc", own, self.own_weights) - self.intercepts
        return features.flatten(1)[None], left.flatten(1)[None]

    def _rows(
        self, stretch: Segment, ranges: tuple[tuple[int, int], ...], step: int
    ) -> tuple[Float[Tensor, "row channel feature"], Float[Tensor, "row horizon channel"]]:
        """Features and targets of every n-th moment that has a whole context before it."""
        samples, horizons = stretch.samples_z, self.dimensions.horizons_samples
        first = self.dimensions.context_samples - 1
        n_rows = len(samples) - first - horizons[-1]
        ahead = [samples[first + horizon :][:n_rows:step] for horizon in horizons]
        return averages(samples[None, : first + n_rows], ranges, first, step)[0], torch.stack(ahead, dim=1)

    def expected_z(
        self, history_z: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """What follows each sample from `first_sample` on, in z-units. Before the first sample all counts as mean."""
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
        """What follows each sample from `first_sample` on, in mV, by the channels' training mean and SD."""
        return self.expected_z((history_mv - self.mean_mv) / self.sd_mv, first_sample) * self.sd_mv + self.mean_mv

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """What follows the last sample."""
        return self.expected_z(history_z, history_z.shape[1] - 1)[:, 0]


def _own(training: NormalEquations, validation: NormalEquations | None, n_horizons: int) -> Tensor:
    """The mean of the best regression a channel and the best one for all channels."""
    n_features = training.gram.shape[-1] - 1
    both = []
    for regression in (training, training.pooled()):
        if validation:
            both.append(best_by_horizon(fit_ridge(regression, [n_features]), validation, n_horizons))
        else:
            both.append(regression.solve(DEFAULT_SHRINKAGE, n_features))
    single, shared = both
    return (single + shared) / 2


def _worth(coupling: Tensor, validation: NormalEquations, n_horizons: int) -> Float[Tensor, " horizon"]:
    """The share of the coupling, from 0 to a half, that leaves the least error on validation rows."""
    explained = sum_by_horizon((coupling * validation.cross).sum(1), n_horizons)
    size = sum_by_horizon((coupling * (validation.gram @ coupling)).sum(1), n_horizons)
    share: Tensor = explained / size.clamp(min=torch.finfo(size.dtype).tiny)
    return share.clamp(0, _MOST_COUPLING)


def _ranges(single_lags: int, n_samples: int, growth: float) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of lags: the first ones single, then ever longer ones."""
    ranges = [(lag, lag + 1) for lag in range(single_lags)]
    while ranges[-1][1] < n_samples:
        start = ranges[-1][1]
        ranges.append((start, min(n_samples, max(start + 1, round(start * growth)))))
    return tuple(ranges)


def averages(
    history: Float[Tensor, "batch time channel"], ranges: tuple[tuple[int, int], ...], first_sample: int, step: int = 1
) -> Float[Tensor, "batch step channel feature"]:
    """The mean over each range of lags, at every n-th sample from `first_sample` on."""
    furthest, n_steps = ranges[-1][1], history.shape[1] - first_sample
    padded = pad(history, (0, 0, furthest, 0))
    sums = pad(padded.cumsum(1), (0, 0, 1, 0))

    def at(rows: Tensor, lag: int) -> Tensor:
        return rows[:, furthest + first_sample + 1 - lag :][:, :n_steps:step]

    def mean(start: int, stop: int) -> Tensor:
        """By a difference of running sums; a single sample as it is, without their rounding."""
        return at(padded, stop) if stop == start + 1 else (at(sums, start) - at(sums, stop)) / (stop - start)

    return torch.stack([mean(start, stop) for start, stop in ranges], dim=-1)
