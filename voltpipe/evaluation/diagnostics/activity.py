"""Activity measures from physiology, for recordings and for roll-outs.

Each measure returns values per channel, pair or interval, whose distribution describes the activity.
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
_FANO_MS = 50.0
_CORRELATION_MS = 10.0
_TILING_MS = 5.0
_SPECTRUM_S = 0.256
_LEAST_INTERVALS = 3
_BURST_SPIKES, _BURST_INTERVAL_MS = 4, 100.0
_BALANCE_MS = 100.0
_VOLTAGES = 5000

Values = Float64[np.ndarray, " value"]


@dataclass(frozen=True)
class Activity:
    """Segment of voltages and its spikes; None if spikes are not detected."""

    voltage_mv: Float32[np.ndarray, "time channel"]
    rate_hz: float
    spikes: Bool[np.ndarray, "time channel"] | None
    effects: tuple[int, ...] = ()
    """Effect of each channel: 1 excitatory, -1 inhibitory, 0 unknown; empty if all are unknown."""

    @classmethod
    def of(
        cls,
        voltage_mv: Float32[np.ndarray, "time channel"],
        rate_hz: float,
        reset: ResetVoltage | None,
        effects: tuple[int, ...] = (),
    ) -> "Activity":
        """Detect spikes at the first sample at reset."""
        if reset is None:
            return cls(voltage_mv, rate_hz, None)
        at_reset = is_at_reset(torch.from_numpy(voltage_mv), reset.voltage_mv, reset.tolerance_mv)
        return cls(voltage_mv, rate_hz, spike_onsets(at_reset).numpy(), effects)

    def samples(self, duration_ms: float) -> int:
        """Return the number of samples in a duration, at least one."""
        return max(1, round(duration_ms * self.rate_hz / 1000))

    def counts(self, bin_ms: float) -> Float64[np.ndarray, "bin channel"]:
        """Count the spikes of each channel in whole bins."""
        assert self.spikes is not None
        n_samples = self.samples(bin_ms)
        n_bins = len(self.spikes) // n_samples
        binned = self.spikes[: n_bins * n_samples].reshape(n_bins, n_samples, -1)
        return np.asarray(binned.sum(1), np.float64)


@dataclass(frozen=True)
class ActivityMeasure:
    """Measure of activity: name, unit, and whether it needs spikes."""

    name: str
    unit: str
    needs_spikes: bool
    of: Callable[[Activity], Values]
    in_order: bool = False
    """Whether the values have an order (frequencies) and are compared one by one, not as a distribution."""


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
    """Return the coefficient of variation of the intervals of each channel: 0 for a clock, 1 for a Poisson process."""
    intervals = [each for each in _intervals_of_channels_ms(activity) if len(each) >= _LEAST_INTERVALS]
    return np.array([each.std() / each.mean() for each in intervals])


def _fano_factors(activity: Activity) -> Values:
    """Return variance over mean of the spike counts in 50 ms, for each channel with spikes."""
    counts = activity.counts(_FANO_MS)
    mean = counts.mean(0)
    return np.asarray(counts.var(0)[mean > 0] / mean[mean > 0])


def _count_correlations(activity: Activity) -> Values:
    return _of_pairs(activity.counts(_CORRELATION_MS))


def _tilings(activity: Activity) -> Values:
    assert activity.spikes is not None
    found = pairwise_onset_statistics(
        [torch.from_numpy(activity.spikes)], n_lags=activity.samples(_TILING_MS)
    ).tiling.numpy()
    return np.asarray(found[~np.eye(len(found), dtype=bool)])


def _population_counts(activity: Activity) -> Values:
    """Count the spikes of all channels in 10 ms. Large counts are bursts."""
    return np.asarray(activity.counts(_CORRELATION_MS).sum(1))


def _avalanche_sizes(activity: Activity) -> Values:
    """Count the spikes in each run of samples with spikes (Beggs and Plenz 2003, J. Neurosci. 23:11167)."""
    assert activity.spikes is not None
    of_all = activity.spikes.sum(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], of_all > 0, [False]])))
    sums = np.concatenate([[0], np.cumsum(of_all)])
    return np.asarray(sums[edges[1::2]] - sums[edges[::2]], np.float64)


def _bursts_of_channels(activity: Activity) -> list[Values]:
    """Count the spikes in each burst of each channel.

    A burst has at least four spikes. Each follows within a quarter of the channel's mean interval, and within 100 ms
    (Wagenaar, Pine and Potter 2006, BMC Neurosci. 7:11).
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
    """Return the fraction of spikes in bursts, for each channel with spikes."""
    assert activity.spikes is not None
    in_bursts, n_spikes = [bursts.sum() for bursts in _bursts_of_channels(activity)], activity.spikes.sum(0)
    return np.asarray(np.array(in_bursts)[n_spikes > 0] / n_spikes[n_spikes > 0])


def _excitatory_shares(activity: Activity) -> Values:
    """Return the excitatory fraction of spikes in each 100 ms; empty unless both effects are known."""
    effects = np.array(activity.effects)
    if not {1, -1} <= set(activity.effects):
        return np.empty(0)
    counts = activity.counts(_BALANCE_MS)
    excitatory, known = counts[:, effects == 1].sum(1), counts[:, effects != 0].sum(1)
    return np.asarray(excitatory[known > 0] / known[known > 0])


def _of_pairs(values: Float64[np.ndarray, "time channel"]) -> Values:
    """Return the Pearson correlations of all pairs of varying channels."""
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


_IMAGINED_S = 1.0
_MOST_SAMPLES = 1000


def rollout_activity_distance(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Compare roll-outs with recordings by their activity.

    Roll-outs begin at the start of held-out recordings of one organoid. The table is empty if the forecaster has no
    roll-outs, or fewer than two such recordings are held out (see `make_rollouts`).
    """
    n_samples = min(round(_IMAGINED_S * window_set.rate_hz), _MOST_SAMPLES)
    runs = make_rollouts(forecaster, window_set, n_samples=n_samples, n_starts=1)
    if runs is None:
        return activity_distance([], [])
    imagined, recorded = (
        [Activity.of(run_mv[runs.n_known :], runs.rate_hz, runs.reset, runs.effects) for run_mv in runs_mv]
        for runs_mv in (runs.imagined_mv, runs.recorded_mv)
    )
    return activity_distance(imagined, recorded)


_COLUMNS = ("measure", "unit", "recorded", "imagined", "distance", "noise_floor", "resembles")
FACTOR = 2.0
"""Largest ratio to the noise floor that counts as similar. A further recording rarely reaches it."""


def activity_distance(imagined: Sequence[Activity], recorded: Sequence[Activity]) -> pd.DataFrame:
    """Compare the activity of roll-outs and recordings, one row per measure.

    `recorded` and `imagined` are the means of a measure. `distance` is the mean distance between a roll-out and a
    recording: the Wasserstein distance of the distributions in the unit of the measure, or the root mean squared
    difference of spectra. `noise_floor` is the mean distance between two recordings. A measure `resembles` if its
    distance is less than twice the noise floor. Measures that cannot be taken, or are zero everywhere, are left out.

    Args:
        imagined: roll-outs; the table is empty without any.
        recorded: at least two recordings, each as long as a roll-out, because short segments differ more.
    """
    rows = []
    for measure in ACTIVITY_MEASURES if imagined else ():
        if measure.needs_spikes and any(each.spikes is None for each in (*imagined, *recorded)):
            continue
        own, truth = [[measure.of(each) for each in activities] for activities in (imagined, recorded)]
        if not all(map(len, (*own, *truth))) or not any(map(np.any, (*own, *truth))):
            continue
        apart = _distance(measure)
        distances = [apart(a, b) for a, b in product(own, truth)]
        floor = [apart(a, b) for a, b in combinations(truth, 2)]
        distance, noise_floor = float(np.mean(distances)), float(np.mean(floor))
        means = (float(np.mean([values.mean() for values in each])) for each in (truth, own))
        rows.append((measure.name, measure.unit, *means, distance, noise_floor, distance < FACTOR * noise_floor))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _distance(measure: ActivityMeasure) -> Callable[[Values, Values], float]:
    return _root_mean_square if measure.in_order else lambda a, b: float(wasserstein_distance(a, b))


def _root_mean_square(a: Values, b: Values) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))
