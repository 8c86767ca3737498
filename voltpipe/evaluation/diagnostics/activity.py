"""Measures of neural activity, and the distance between the activity of roll-outs and of recordings.

A measure gives one value for each channel, pair or interval. The distribution of these values describes the activity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Float64
from scipy.signal import welch
from scipy.stats import wasserstein_distance

from voltpipe.evaluation.diagnostics.rollouts import make_rollouts
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.signals.spike_detection import ResetVoltage, is_at_reset, spike_onsets
from voltpipe.signals.spike_trains import pairwise_onset_statistics
from voltpipe.windows.window_set import WindowSet

RATE, BURSTS = "firing rate", "bursts of a channel"
FACTOR = 2.0
"""Largest distance that counts as resembling, in noise floors. A further recording would rarely be twice as far."""
_FANO_MS = 50.0
_CORRELATION_MS = 10.0
_TILING_MS = 5.0
_SPECTRUM_S = 0.256
_LEAST_INTERVALS = 3
_BURST_SPIKES, _BURST_INTERVAL_MS = 4, 100.0
_BALANCE_MS = 100.0
_VOLTAGES = 5000
_ROLLOUT_S = 1.0
_MOST_SAMPLES = 1000
_COLUMNS = ("measure", "unit", "recorded", "imagined", "distance", "noise_floor", "resembles")
Values = Float64[np.ndarray, " value"]


@dataclass(frozen=True)
class Activity:
    """Voltages of a segment, and the spikes in them; None if spikes cannot be detected."""

    voltage_mv: Float32[np.ndarray, "time channel"]
    rate_hz: float
    spikes: Bool[np.ndarray, "time channel"] | None
    effects: tuple[int, ...] = ()
    """Effect of each channel: 1 excites, -1 inhibits, 0 unknown; empty if unknown for all."""

    @classmethod
    def of(
        cls,
        voltage_mv: Float32[np.ndarray, "time channel"],
        rate_hz: float,
        reset: ResetVoltage | None,
        effects: tuple[int, ...] = (),
    ) -> "Activity":
        """Detect spikes at the first samples at the reset voltage."""
        if reset is None:
            return cls(voltage_mv, rate_hz, None)
        at_reset = is_at_reset(torch.from_numpy(voltage_mv), reset.voltage_mv, reset.tolerance_mv)
        return cls(voltage_mv, rate_hz, spike_onsets(at_reset).numpy(), effects)

    def samples(self, duration_ms: float) -> int:
        """Return a duration in samples, at least one."""
        return max(1, round(duration_ms * self.rate_hz / 1000))

    def counts(self, bin_ms: float) -> Float64[np.ndarray, "bin channel"]:
        """Return the number of spikes in each whole bin."""
        assert self.spikes is not None
        n_samples = self.samples(bin_ms)
        n_bins = len(self.spikes) // n_samples
        binned = self.spikes[: n_bins * n_samples].reshape(n_bins, n_samples, -1)
        return np.asarray(binned.sum(1), np.float64)


@dataclass(frozen=True)
class ActivityMeasure:
    """Measure of activity, with its unit."""

    name: str
    unit: str
    needs_spikes: bool
    of: Callable[[Activity], Values]
    in_order: bool = False
    """Whether the values belong to frequencies and are compared one by one, not as a distribution."""


def rollout_activity_distance(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Compare roll-outs from the beginnings of held-out recordings of one organoid with the recorded future.

    The table is that of `activity_distance`, with the columns of `Rollouts.divergence`. It is empty if the forecaster
    cannot roll out, or fewer than two such recordings are held out (see `make_rollouts`).

    Raises:
        EvaluationError: too many roll-outs diverge.
    """
    n_samples = min(round(_ROLLOUT_S * window_set.rate_hz), _MOST_SAMPLES)
    rollouts = make_rollouts(forecaster, window_set, n_samples=n_samples, n_starts=1)
    if rollouts is None:
        return activity_distance([], [])
    imagined, recorded = (
        [
            Activity.of(each_mv[rollouts.n_known :], rollouts.rate_hz, rollouts.reset, rollouts.effects)
            for each_mv in voltages_mv
        ]
        for voltages_mv in (rollouts.imagined_mv, rollouts.recorded_mv)
    )
    return activity_distance(imagined, recorded).assign(**rollouts.divergence())


def activity_distance(imagined: Sequence[Activity], recorded: Sequence[Activity]) -> pd.DataFrame:
    """Compare the activity of roll-outs with that of recordings, one row for each measure.

    - `recorded`, `imagined`: means of the measured values, in recordings and in roll-outs.
    - `distance`: mean distance between roll-outs and recordings, over all pairs. It is the Wasserstein distance of the
      distributions in the measure's unit, or for a spectrum the root of the mean squared difference.
    - `noise_floor`: the same distance among recordings.
    - `resembles`: whether `distance` is below `FACTOR` noise floors.

    A measure that cannot be computed, or is zero everywhere, is left out.

    Args:
        imagined: roll-outs; without any, the table is empty.
        recorded: at least two recordings, each as long as a roll-out, because short segments differ more.
    """
    rows = []
    for measure in ACTIVITY_MEASURES if imagined else ():
        if measure.needs_spikes and any(each.spikes is None for each in (*imagined, *recorded)):
            continue
        own, truth = [[measure.of(each) for each in activities] for activities in (imagined, recorded)]
        if not all(map(len, (*own, *truth))) or not any(map(np.any, (*own, *truth))):
            continue
        between = _distance(measure)
        distance = float(np.mean([between(a, b) for a, b in product(own, truth)]))
        noise_floor = float(np.mean([between(a, b) for a, b in combinations(truth, 2)]))
        means = (float(np.mean([values.mean() for values in each])) for each in (truth, own))
        rows.append((measure.name, measure.unit, *means, distance, noise_floor, distance < FACTOR * noise_floor))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _distance(measure: ActivityMeasure) -> Callable[[Values, Values], float]:
    return _root_mean_square if measure.in_order else lambda a, b: float(wasserstein_distance(a, b))


def _root_mean_square(a: Values, b: Values) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def _voltages_mv(activity: Activity) -> Values:
    flat = activity.voltage_mv.ravel()
    return np.asarray(flat[:: max(1, len(flat) // _VOLTAGES)], np.float64)


def _voltage_correlations(activity: Activity) -> Values:
    return _of_pairs(activity.voltage_mv.astype(np.float64))


def _spectrum_db(activity: Activity) -> Values:
    n_samples = min(len(activity.voltage_mv), activity.samples(1000 * _SPECTRUM_S))
    power = welch(activity.voltage_mv.astype(np.float64), activity.rate_hz, nperseg=n_samples, axis=0)[1]
    return np.asarray(10 * np.log10(np.maximum(power[1:-1].mean(1), np.finfo(float).tiny)))


def _rates_hz(activity: Activity) -> Values:
    assert activity.spikes is not None
    return np.asarray(activity.spikes.mean(0) * activity.rate_hz)


def _intervals_of_channels_ms(activity: Activity) -> list[Values]:
    assert activity.spikes is not None
    return [np.diff(np.flatnonzero(train)) * 1000 / activity.rate_hz for train in activity.spikes.T]


def _intervals_ms(activity: Activity) -> Values:
    return np.concatenate(_intervals_of_channels_ms(activity))


def _irregularities(activity: Activity) -> Values:
    """Return the coefficient of variation of each channel's intervals: 0 for a clock, 1 for a Poisson process."""
    intervals = [each for each in _intervals_of_channels_ms(activity) if len(each) >= _LEAST_INTERVALS]
    return np.array([each.std() / each.mean() for each in intervals])


def _fano_factors(activity: Activity) -> Values:
    """Return variance over mean of the spike counts in 50 ms, for each channel that spikes."""
    counts = activity.counts(_FANO_MS)
    mean = counts.mean(0)
    return np.asarray(counts.var(0)[mean > 0] / mean[mean > 0])


def _count_correlations(activity: Activity) -> Values:
    return _of_pairs(activity.counts(_CORRELATION_MS))


def _tilings(activity: Activity) -> Values:
    assert activity.spikes is not None
    statistics = pairwise_onset_statistics([torch.from_numpy(activity.spikes)], n_lags=activity.samples(_TILING_MS))
    tiling = statistics.tiling.numpy()
    return np.asarray(tiling[~np.eye(len(tiling), dtype=bool)])


def _population_counts(activity: Activity) -> Values:
    """Return the spike counts of all channels in 10 ms. Large counts are population bursts."""
    return np.asarray(activity.counts(_CORRELATION_MS).sum(1))


def _avalanche_sizes(activity: Activity) -> Values:
    """Return the spikes in each series of samples without a silent one (Beggs, Plenz 2003, J. Neurosci. 23:11167)."""
    assert activity.spikes is not None
    of_all = activity.spikes.sum(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], of_all > 0, [False]])))
    sums = np.concatenate([[0], np.cumsum(of_all)])
    return np.asarray(sums[edges[1::2]] - sums[edges[::2]], np.float64)


def _bursts_of_channels(activity: Activity) -> list[Values]:
    """Return the number of spikes in each burst of each channel.

    A burst is four spikes or more. Each follows the one before within a quarter of the channel's mean interval and
    within 100 ms (Wagenaar, Pine and Potter 2006, BMC Neurosci. 7:11).
    """
    bursts = []
    for intervals_ms in _intervals_of_channels_ms(activity):
        longest_ms = min(_BURST_INTERVAL_MS, intervals_ms.mean() / 4) if len(intervals_ms) else 0.0
        edges = np.flatnonzero(np.diff(np.concatenate([[False], intervals_ms < longest_ms, [False]])))
        n_spikes = edges[1::2] - edges[::2] + 1
        bursts.append(n_spikes[n_spikes >= _BURST_SPIKES].astype(np.float64))
    return bursts


def _burst_rates_hz(activity: Activity) -> Values:
    duration_s = len(activity.voltage_mv) / activity.rate_hz
    return np.array([len(bursts) / duration_s for bursts in _bursts_of_channels(activity)])


def _shares_in_bursts(activity: Activity) -> Values:
    """Return the share of spikes in bursts, for each channel that spikes."""
    assert activity.spikes is not None
    in_bursts, n_spikes = [bursts.sum() for bursts in _bursts_of_channels(activity)], activity.spikes.sum(0)
    return np.asarray(np.array(in_bursts)[n_spikes > 0] / n_spikes[n_spikes > 0])


def _excitatory_shares(activity: Activity) -> Values:
    """Return the share of excitatory spikes in each 100 ms; empty unless channels of both types are known."""
    effects = np.array(activity.effects)
    if not {1, -1} <= set(activity.effects):
        return np.empty(0)
    counts = activity.counts(_BALANCE_MS)
    excitatory, known = counts[:, effects == 1].sum(1), counts[:, effects != 0].sum(1)
    return np.asarray(excitatory[known > 0] / known[known > 0])


def _of_pairs(values: Float64[np.ndarray, "time channel"]) -> Values:
    """Return the Pearson correlations of all pairs of channels that vary."""
    varying = values[:, values.std(0) > 0]
    if varying.shape[1] < 2:
        return np.empty(0)
    return np.asarray(np.corrcoef(varying.T)[np.triu_indices(varying.shape[1], 1)])


ACTIVITY_MEASURES = (
    ActivityMeasure("voltage", "mV", False, _voltages_mv),
    ActivityMeasure("power spectrum", "dB", False, _spectrum_db, in_order=True),
    ActivityMeasure("voltage correlation", "", False, _voltage_correlations),
    ActivityMeasure(RATE, "spikes/s", True, _rates_hz),
    ActivityMeasure("interval between spikes", "ms", True, _intervals_ms),
    ActivityMeasure("irregularity (CV)", "", True, _irregularities),
    ActivityMeasure("Fano factor", "", True, _fano_factors),
    ActivityMeasure("spike-count correlation", "", True, _count_correlations),
    ActivityMeasure("spike-time tiling", "", True, _tilings),
    ActivityMeasure("population activity", "spikes", True, _population_counts),
    ActivityMeasure("avalanche size", "spikes", True, _avalanche_sizes),
    ActivityMeasure(BURSTS, "bursts/s", True, _burst_rates_hz),
    ActivityMeasure("share of spikes in bursts", "", True, _shares_in_bursts),
    ActivityMeasure("excitatory share of spikes", "", True, _excitatory_shares),
)
