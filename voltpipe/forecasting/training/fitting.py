"""Fits the predictive distribution of a forecaster on validation windows; no other sample is ever read here."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isqrt

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from voltpipe.forecasting.compute import run_in_threads
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module_registry import BASELINES
from voltpipe.forecasting.novelty import (
    NoveltyConfig,
    NoveltyDetector,
    channel_features,
    common_features,
    whole_features,
)
from voltpipe.forecasting.predictive_distribution import (
    DistributionConfig,
    PredictiveDistribution,
    fill_empty_bins,
    residual_levels,
)
from voltpipe.forecasting.training.sampling import calibration_windows
from voltpipe.signals.spike_detection import find_reset_voltage
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

_BATCH_WINDOWS = 32
_MAX_TARGETS = 400_000
"""More would cost time and change nothing."""
_MAX_BINS = 16
_TARGETS_A_CELL = 100


@dataclass(frozen=True)
class _Outcomes:
    """What followed the forecasts of one horizon."""

    cell: Int64[Tensor, " target"]
    residual: Float[Tensor, " target"]
    at_reset: Bool[Tensor, " target"]
    below_reset: Bool[Tensor, " target"]
    spiked: Bool[Tensor, " target"]


def with_distribution(forecaster: Forecaster, window_set: WindowSet) -> Forecaster:
    """The forecaster with its predictive distribution; as it is, if the window set has no validation windows."""
    windows = calibration_windows(window_set, max(1, _MAX_TARGETS // window_set.n_channels))
    if not len(windows):
        return forecaster
    samples_mv, forecast_mv = _forecast(forecaster, window_set, windows)
    return replace(forecaster, distribution=fit_distribution(forecaster, samples_mv, forecast_mv))


def fit_distribution(
    forecaster: Forecaster,
    samples_mv: Float[Tensor, "window time channel"],
    forecast_mv: Float[Tensor, "window horizon channel"],
) -> PredictiveDistribution:
    """Tabulate what followed forecasts.

    Args:
        forecaster: who made them.
        samples_mv: from the last sample that it knew up to the largest horizon.
        forecast_mv: what it forecast.
    """
    distribution = _empty(forecaster, samples_mv, n_targets=forecast_mv[:, 0].numel())
    samples, forecast = distribution.scaled(samples_mv), distribution.scaled(forecast_mv)
    at_reset, spiked = distribution.standing_at_reset(samples_mv), distribution.spikes_within(samples_mv)
    cells = distribution.cells
    cells.fit(samples[:, 0].flatten(), at_reset[:, 0].flatten(), forecast.transpose(0, 1).flatten(1))
    cell = cells(samples[:, 0], at_reset[:, 0], forecast)
    for number, horizon in enumerate(forecaster.horizons):
        outcomes = _Outcomes(
            cell=(cell[:, number] - number * cells.n_cells).flatten(),
            residual=(samples[:, horizon] - forecast[:, number]).flatten(),
            at_reset=at_reset[:, horizon].flatten(),
            below_reset=((samples_mv[:, horizon] < distribution.reset_mv) & ~at_reset[:, horizon]).flatten(),
            spiked=spiked[:, number].flatten(),
        )
        _tabulate(distribution, slice(number * cells.n_cells, (number + 1) * cells.n_cells), outcomes)
    return distribution


def _forecast(
    forecaster: Forecaster, window_set: WindowSet, windows: Int64[np.ndarray, " window"]
) -> tuple[Float[Tensor, "window time channel"], Float[Tensor, "window horizon channel"]]:
    """The samples from the last known one up to the largest horizon, and the forecasts, in mV."""
    samples, forecasts = [], []
    for batch, user in _batches(forecaster, window_set, windows):
        mean_mv, sd_mv = window_set.calibration_mv(window_set.index["recording"][batch])
        stretch_z = window_set.segment(batch, window_set.context + forecaster.horizons[-1])
        forecast_z = user.predict_z(stretch_z[:, : window_set.context], mean_mv, sd_mv)
        samples.append(stretch_z[:, window_set.context - 1 :] * sd_mv[:, None] + mean_mv[:, None])
        forecasts.append(forecast_z * sd_mv[:, None] + mean_mv[:, None])
    return torch.cat(samples), torch.cat(forecasts)


def _batches(
    forecaster: Forecaster, window_set: WindowSet, windows: Int64[np.ndarray, " window"]
) -> Iterator[tuple[Int64[np.ndarray, " batch"], Forecaster]]:
    """Windows of one recording at a time, with the forecaster as it is to be used on that recording."""
    of_recording = window_set.index["recording"][windows]
    for number in sorted(set(of_recording.tolist())):
        organoid = window_set.recordings[number].organoid
        user = forecaster.for_recording(organoid, window_set.channel_names)
        chosen = windows[of_recording == number]
        for first in range(0, len(chosen), _BATCH_WINDOWS):
            yield chosen[first : first + _BATCH_WINDOWS], user


def _empty(
    forecaster: Forecaster, samples_mv: Float[Tensor, "window time channel"], n_targets: int
) -> PredictiveDistribution:
    """A distribution with its scales and its reset, and nothing in the tables."""
    reset = find_reset_voltage(samples_mv[:, 0].flatten().sort().values)
    config = DistributionConfig(
        horizons_samples=forecaster.horizons,
        n_bins=min(_MAX_BINS, max(1, isqrt(n_targets // _TARGETS_A_CELL))),
        n_scales=1 if reset else samples_mv.shape[2],
        n_targets=n_targets,
    )
    distribution = PredictiveDistribution(config)
    if reset:
        distribution.reset_mv.fill_(reset.voltage_mv)
        distribution.tolerance_mv.fill_(reset.tolerance_mv)
    else:
        distribution.centre_mv.copy_(torch.tensor(forecaster.config.mean_mv))
        distribution.scale_mv.copy_(torch.tensor(forecaster.config.sd_mv))
    return distribution


def _tabulate(distribution: PredictiveDistribution, rows: slice, outcomes: _Outcomes) -> None:
    """Fill the tables of one horizon. A cell without targets takes over the nearest one's."""
    n_cells = distribution.cells.n_cells
    counts, at_reset, below_reset, spiked = (
        torch.bincount(outcomes.cell[which], minlength=n_cells)
        for which in (slice(None), outcomes.at_reset, outcomes.below_reset, outcomes.spiked)
    )
    nearest = fill_empty_bins(counts, distribution.config.n_bins)
    elsewhere = ~outcomes.at_reset
    residuals = _quantiles(outcomes.residual[elsewhere], outcomes.cell[elsewhere], n_cells)
    distribution.residuals[rows] = residuals[nearest]
    distribution.at_reset[rows] = (at_reset / counts)[nearest]
    distribution.below_reset[rows] = (below_reset / counts)[nearest]
    if distribution.sees_spikes:
        # Jeffreys' estimate: what was never seen in some hundred cases is not thereby impossible.
        distribution.spike_chances[rows] = ((spiked + 0.5) / (counts + 1))[nearest]


def _quantiles(
    residual: Float[Tensor, " target"], cell: Int64[Tensor, " target"], n_cells: int
) -> Float[Tensor, "cell step"]:
    """The residuals of each cell at the tabulated levels; zero where there are none."""
    order = residual.argsort()
    ascending = torch.cat([residual[order[cell[order].argsort(stable=True)]], torch.zeros(1)])
    counts = torch.bincount(cell, minlength=n_cells)[:, None]
    first, last = counts.cumsum(0) - counts, (counts - 1).clamp(min=0)
    rank = (residual_levels() * (counts + 1) - 1).clamp(min=0).minimum(last)
    lower = rank.long()
    quantiles = torch.lerp(ascending[first + lower], ascending[first + (lower + 1).minimum(last)], rank - lower)
    return quantiles.where(counts > 0, 0.0)


def fit_baselines(window_set: WindowSet) -> dict[str, Forecaster]:
    """All baselines by name, at all horizons of the window set, fitted on its training rows alone.

    Each has a predictive distribution, from the validation windows, if there are any.

    Raises:
        TrainingDataError: there are too few training rows.
    """

    def fitted(name: str) -> Forecaster:
        forecaster = Forecaster.unfitted(name, window_set)
        forecaster.module.fit(window_set)
        return with_distribution(forecaster, window_set)

    return dict(zip(BASELINES, run_in_threads(fitted, BASELINES), strict=True))


FALSE_ALARMS = 0.01
_MAX_VALUES = 30_000_000
"""Voltages that are looked at, of training and again of validation; more would cost time and change little."""
_LEAST_WINDOWS = 200
_BATCH_VALUES = 1 << 20
_SHRINKAGE = 0.1
"""Of the features' correlations towards none."""


def fit_novelty_detector(forecaster: Forecaster, window_set: WindowSet) -> Forecaster:
    """The forecaster that recognises what it was not trained on; as it is, if no windows are for validation.

    Features and their spread come from training windows, the limit that so few windows exceed from validation windows.
    No other sample is read.
    """
    context = forecaster.config.context_samples
    most = max(_LEAST_WINDOWS, _MAX_VALUES // (context * window_set.n_channels))
    trained, validating = window_set.windows(Split.TRAIN), calibration_windows(window_set, most)
    if not len(trained) or not len(validating):
        return forecaster
    trained = trained[np.linspace(0, len(trained) - 1, min(most, len(trained))).astype(np.int64)]
    familiarity = NoveltyDetector(
        NoveltyConfig(
            n_channels=window_set.n_channels,
            context_samples=context,
            rate_hz=window_set.rate_hz,
            false_alarms=FALSE_ALARMS,
        )
    )
    familiarity.centre_mv.copy_(torch.tensor(forecaster.config.mean_mv))
    familiarity.scale_mv.copy_(torch.tensor(forecaster.config.sd_mv))
    _learn_features(familiarity, window_set, trained)
    _set_limits(familiarity, window_set, validating)
    return replace(forecaster, familiarity=familiarity)


def _learn_features(familiarity: NoveltyDetector, window_set: WindowSet, windows: Int64[np.ndarray, " window"]) -> None:
    # One sample more or less is nothing to speak of, however steady a channel was in training.
    least = 1 / familiarity.config.context_samples
    of_channels, in_common = [], []
    for history_mv in _histories_mv(window_set, windows):
        scaled = familiarity.scaled(history_mv)
        of_channels.append(channel_features(scaled))
        in_common.append(common_features(scaled, window_set.rate_hz))
    features = torch.cat(of_channels)
    familiarity.feature_mean.copy_(features.mean(0))
    familiarity.feature_sd.copy_(features.std(0, correction=0).clamp(min=least))
    features_z = familiarity.standardised(features)
    familiarity.feature_precision.copy_(_precision(features_z.flatten(0, 1)))
    whole = whole_features(features_z, torch.cat(in_common))
    familiarity.whole_mean.copy_(whole.mean(0))
    familiarity.whole_sd.copy_(whole.std(0, correction=0).clamp(min=least))
    familiarity.whole_precision.copy_(_precision((whole - familiarity.whole_mean) / familiarity.whole_sd))


def _set_limits(familiarity: NoveltyDetector, window_set: WindowSet, windows: Int64[np.ndarray, " window"]) -> None:
    """Each of the two distances is given half of the false alarms, and both together then all of them."""
    judged = [familiarity.judge(history_mv) for history_mv in _histories_mv(window_set, windows)]
    distances = torch.stack(
        [
            torch.cat([judgement.channel_score.amax(1) for judgement in judged]),
            torch.cat([judgement.whole_score for judgement in judged]),
        ]
    )
    of_each = distances.quantile(1 - FALSE_ALARMS / 2, dim=1)
    familiarity.limits.copy_(of_each * (distances / of_each[:, None]).amax(0).quantile(1 - FALSE_ALARMS))


def _precision(z: Float[Tensor, "window feature"]) -> Float[Tensor, "feature feature"]:
    correlation = z.T @ z / len(z)
    shrunken = (1 - _SHRINKAGE) * correlation + _SHRINKAGE * torch.eye(z.shape[1])
    return shrunken.inverse()


def _histories_mv(
    window_set: WindowSet, windows: Int64[np.ndarray, " window"]
) -> Iterator[Float[Tensor, "batch time channel"]]:
    size = max(1, _BATCH_VALUES // (window_set.context * window_set.n_channels))
    for first in range(0, len(windows), size):
        yield window_set.batch(windows[first : first + size]).history_mv()
