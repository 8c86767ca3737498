"""Closed-form fits: predictive distribution, baselines and novelty detector.

Distributions and the limits of novelty read validation windows. Everything else reads training windows.
"""

from collections.abc import Iterable, Iterator
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
from voltpipe.windows.window_set import WindowSet, to_mv

_BATCH_WINDOWS = 32
_MAX_TARGETS = 400_000
"""Number of targets read; more would cost time and change nothing."""
_MAX_BINS = 16
_MIN_TARGETS_PER_BIN = 100


@dataclass(frozen=True)
class _Outcomes:
    """Observed targets of the forecasts at one horizon."""

    cell: Int64[Tensor, " target"]
    residual: Float[Tensor, " target"]
    at_reset: Bool[Tensor, " target"]
    below_reset: Bool[Tensor, " target"]
    spiked: Bool[Tensor, " target"]


def with_distribution(forecaster: Forecaster, window_set: WindowSet) -> Forecaster:
    """Return the forecaster with a predictive distribution; unchanged if the window set has no validation windows."""
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
    """Fit a predictive distribution to forecasts and the samples that followed.

    Args:
        forecaster: made the forecasts.
        samples_mv: samples from the last one in the context up to the largest horizon, in mV.
        forecast_mv: the forecasts, in mV.
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
    """Return the samples from the last one in the context up to the largest horizon, and the forecasts, in mV."""
    samples, forecasts = [], []
    for batch, adapted in _batches(forecaster, window_set, windows):
        mean_mv, sd_mv = window_set.calibration_mv(window_set.index["recording"][batch])
        segment_z = window_set.segment(batch, window_set.context + forecaster.horizons[-1])
        forecast_z = adapted.predict_z(segment_z[:, : window_set.context], mean_mv, sd_mv)
        samples.append(to_mv(segment_z[:, window_set.context - 1 :], mean_mv, sd_mv))
        forecasts.append(to_mv(forecast_z, mean_mv, sd_mv))
    return torch.cat(samples), torch.cat(forecasts)


def _batches(
    forecaster: Forecaster, window_set: WindowSet, windows: Int64[np.ndarray, " window"]
) -> Iterator[tuple[Int64[np.ndarray, " batch"], Forecaster]]:
    """Yield batches of windows of one recording, each with the forecaster adapted to that recording."""
    of_recording = window_set.index["recording"][windows]
    for number in sorted(set(of_recording.tolist())):
        organoid = window_set.recordings[number].organoid
        adapted = forecaster.for_recording(organoid, window_set.channel_names)
        own = windows[of_recording == number]
        for first in range(0, len(own), _BATCH_WINDOWS):
            yield own[first : first + _BATCH_WINDOWS], adapted


def _empty(
    forecaster: Forecaster, samples_mv: Float[Tensor, "window time channel"], n_targets: int
) -> PredictiveDistribution:
    """Return a distribution with scales and reset voltage, and empty tables."""
    reset = find_reset_voltage(samples_mv[:, 0].flatten().sort().values)
    config = DistributionConfig(
        horizons_samples=forecaster.horizons,
        n_bins=min(_MAX_BINS, max(1, isqrt(n_targets // _MIN_TARGETS_PER_BIN))),
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
    """Fill the tables of one horizon. A bin without targets copies the nearest bin with targets."""
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
        # Jeffreys' estimate: a spike not seen in a hundred cases is unlikely, not impossible.
        distribution.spike_chances[rows] = ((spiked + 0.5) / (counts + 1))[nearest]


def _quantiles(
    residual: Float[Tensor, " target"], cell: Int64[Tensor, " target"], n_cells: int
) -> Float[Tensor, "cell step"]:
    """Return the quantiles of each bin's residuals at the tabulated levels; zero for a bin without residuals."""
    order = residual.argsort()
    ascending = torch.cat([residual[order[cell[order].argsort(stable=True)]], torch.zeros(1)])
    counts = torch.bincount(cell, minlength=n_cells)[:, None]
    first, last = counts.cumsum(0) - counts, (counts - 1).clamp(min=0)
    rank = (residual_levels() * (counts + 1) - 1).clamp(min=0).minimum(last)
    lower = rank.long()
    quantiles = torch.lerp(ascending[first + lower], ascending[first + (lower + 1).minimum(last)], rank - lower)
    return quantiles.where(counts > 0, 0.0)


def fit_baselines(window_set: WindowSet, names: Iterable[str] = BASELINES) -> dict[str, Forecaster]:
    """Fit baselines on the training samples, at all horizons of the window set. Return them by name.

    If there are validation windows, each baseline gets a predictive distribution from them.

    Raises:
        TrainingDataError: there are too few training samples.
    """

    def fit_baseline(name: str) -> Forecaster:
        forecaster = Forecaster.unfitted(name, window_set)
        forecaster.module.fit(window_set)
        return with_distribution(forecaster, window_set)

    chosen = tuple(names)
    return dict(zip(chosen, run_in_threads(fit_baseline, chosen), strict=True))


FALSE_ALARMS = 0.01
"""Share of validation windows that may exceed the novelty limits."""
_MAX_VALUES = 30_000_000
"""Number of voltages read from training and from validation windows each; more would change little."""
_MIN_WINDOWS = 200
_BATCH_VALUES = 1 << 20
_SHRINKAGE = 0.1
"""Shrinkage of the features' correlations toward zero."""


def fit_novelty_detector(forecaster: Forecaster, window_set: WindowSet) -> Forecaster:
    """Return the forecaster with a novelty detector; unchanged if there are no validation windows.

    Mean and spread of the features come from training windows. The limits, which 1 % of windows exceed, come from
    validation windows. No other sample is read.
    """
    context = forecaster.config.context_samples
    most = max(_MIN_WINDOWS, _MAX_VALUES // (context * window_set.n_channels))
    trained, validating = window_set.windows(Split.TRAIN), calibration_windows(window_set, most)
    if not len(trained) or not len(validating):
        return forecaster
    trained = trained[np.linspace(0, len(trained) - 1, min(most, len(trained))).astype(np.int64)]
    detector = NoveltyDetector(
        NoveltyConfig(
            n_channels=window_set.n_channels,
            context_samples=context,
            rate_hz=window_set.rate_hz,
            false_alarms=FALSE_ALARMS,
        )
    )
    detector.centre_mv.copy_(torch.tensor(forecaster.config.mean_mv))
    detector.scale_mv.copy_(torch.tensor(forecaster.config.sd_mv))
    _fit_features(detector, window_set, trained)
    _set_limits(detector, window_set, validating)
    return replace(forecaster, familiarity=detector)


def _fit_features(detector: NoveltyDetector, window_set: WindowSet, windows: Int64[np.ndarray, " window"]) -> None:
    # A difference of one sample never counts as novel, however constant a channel was in training.
    min_sd = 1 / detector.config.context_samples
    by_channel, common = [], []
    for history_mv in _histories_mv(window_set, windows):
        scaled = detector.scaled(history_mv)
        by_channel.append(channel_features(scaled))
        common.append(common_features(scaled, window_set.rate_hz))
    features = torch.cat(by_channel)
    detector.feature_mean.copy_(features.mean(0))
    detector.feature_sd.copy_(features.std(0, correction=0).clamp(min=min_sd))
    features_z = detector.standardised(features)
    detector.feature_precision.copy_(_precision(features_z.flatten(0, 1)))
    whole = whole_features(features_z, torch.cat(common))
    detector.whole_mean.copy_(whole.mean(0))
    detector.whole_sd.copy_(whole.std(0, correction=0).clamp(min=min_sd))
    detector.whole_precision.copy_(_precision((whole - detector.whole_mean) / detector.whole_sd))


def _set_limits(detector: NoveltyDetector, window_set: WindowSet, windows: Int64[np.ndarray, " window"]) -> None:
    """Set the limit of each distance to half the false alarms, then scale both so that together they give all."""
    scores = [detector.judge(history_mv) for history_mv in _histories_mv(window_set, windows)]
    distances = torch.stack(
        [
            torch.cat([score.channel_score.amax(1) for score in scores]),
            torch.cat([score.whole_score for score in scores]),
        ]
    )
    half_limits = distances.quantile(1 - FALSE_ALARMS / 2, dim=1)
    detector.limits.copy_(half_limits * (distances / half_limits[:, None]).amax(0).quantile(1 - FALSE_ALARMS))


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
