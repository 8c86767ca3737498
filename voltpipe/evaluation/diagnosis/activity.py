"""Measures of neural activity, as physiologists know them: of a recording, or of what a forecaster imagines.

Each gives values (a channel's, a pair's, an interval's) whose distribution describes the activity.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from scipy.signal import welch

from voltpipe.forecasting.coupling.spike_trains import measure_onsets
from voltpipe.forecasting.coupling.spikes import onsets, standing_at
from voltpipe.forecasting.point_mass import PointMass

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
    """A stretch of voltages, and the spikes in them; None where spikes cannot be seen."""

    voltage_mv: Float32[np.ndarray, "time channel"]
    rate_hz: float
    spikes: Bool[np.ndarray, "time channel"] | None
    effects: tuple[int, ...] = ()
    """1 for a channel that excites, -1 for one that inhibits, 0 where that is not known; none where it is of none."""

    @classmethod
    def of(
        cls,
        voltage_mv: Float32[np.ndarray, "time channel"],
        rate_hz: float,
        reset: PointMass | None,
        effects: tuple[int, ...] = (),
    ) -> "Activity":
        """With spikes where the voltage first stands at the reset."""
        if reset is None:
            return cls(voltage_mv, rate_hz, None)
        at_reset = standing_at(torch.from_numpy(voltage_mv), reset.voltage_mv, reset.tolerance_mv)
        return cls(voltage_mv, rate_hz, onsets(at_reset).numpy(), effects)

    def samples(self, duration_ms: float) -> int:
        """At least one."""
        return max(1, round(duration_ms * self.rate_hz / 1000))

    def counts(self, bin_ms: float) -> Float64[np.ndarray, "bin channel"]:
        """Spikes in whole bins."""
        assert self.spikes is not None
        n_samples = self.samples(bin_ms)
        n_bins = len(self.spikes) // n_samples
        binned = self.spikes[: n_bins * n_samples].reshape(n_bins, n_samples, -1)
        return np.asarray(binned.sum(1), np.float64)


@dataclass(frozen=True)
class Measure:
    """What is measured, in which unit, and whether spikes must be seen for it."""

    name: str
    unit: str
    needs_spikes: bool
    of: Callable[[Activity], Values]
    in_order: bool = False
    """Whether the values belong to places (frequencies) and are compared one by one, not as a distribution."""


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
    """The coefficient of variation of each channel's intervals: 0 of a clock, 1 of a Poisson process."""
    intervals = [each for each in _intervals_of_channels_ms(activity) if len(each) >= _LEAST_INTERVALS]
    return np.array([each.std() / each.mean() for each in intervals])


def _fano_factors(activity: Activity) -> Values:
    """Variance over mean of the counts in 50 ms of each channel that spikes."""
    counts = activity.counts(_FANO_MS)
    mean = counts.mean(0)
    return np.asarray(counts.var(0)[mean > 0] / mean[mean > 0])


def _count_correlations(activity: Activity) -> Values:
    return _of_pairs(activity.counts(_CORRELATION_MS))


def _tilings(activity: Activity) -> Values:
    assert activity.spikes is not None
    found = measure_onsets([torch.from_numpy(activity.spikes)], n_lags=activity.samples(_TILING_MS)).tiling.numpy()
    return np.asarray(found[~np.eye(len(found), dtype=bool)])


def _population_counts(activity: Activity) -> Values:
    """Spikes of all channels in 10 ms; the large ones are bursts."""
    return np.asarray(activity.counts(_CORRELATION_MS).sum(1))


def _avalanche_sizes(activity: Activity) -> Values:
    """Spikes in a row of samples none of which is without one (Beggs and Plenz 2003, J. Neurosci. 23:11167)."""
    assert activity.spikes is not None
    of_all = activity.spikes.sum(1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], of_all > 0, [False]])))
    sums = np.concatenate([[0], np.cumsum(of_all)])
    return np.asarray(sums[edges[1::2]] - sums[edges[::2]], np.float64)


def _bursts_of_channels(activity: Activity) -> list[Values]:
    """The number of spikes in each burst of each channel.

    Four spikes or more, each within a quarter of the channel's mean interval of the one before, and within 100 ms
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
    """Of the spikes of each channel that has any."""
    assert activity.spikes is not None
    in_bursts, n_spikes = [bursts.sum() for bursts in _bursts_of_channels(activity)], activity.spikes.sum(0)
    return np.asarray(np.array(in_bursts)[n_spikes > 0] / n_spikes[n_spikes > 0])


def _excitatory_shares(activity: Activity) -> Values:
    """Of the spikes in each 100 ms, those of channels that excite; none where no channel is known to, or to inhibit."""
    effects = np.array(activity.effects)
    if not {1, -1} <= set(activity.effects):
        return np.empty(0)
    counts = activity.counts(_BALANCE_MS)
    excitatory, known = counts[:, effects == 1].sum(1), counts[:, effects != 0].sum(1)
    return np.asarray(excitatory[known > 0] / known[known > 0])


def _of_pairs(values: Float64[np.ndarray, "time channel"]) -> Values:
    """Pearson correlations of all pairs of channels that vary."""
    varying = values[:, values.std(0) > 0]
    if varying.shape[1] < 2:
        return np.empty(0)
    return np.asarray(np.corrcoef(varying.T)[np.triu_indices(varying.shape[1], 1)])


MEASURES = (
    Measure("voltage", "mV", False, _voltages_mv),
    Measure("power spectrum", "dB", False, _spectrum_db, in_order=True),
    Measure("voltage correlation", "", False, _voltage_correlations),
    Measure(RATE, "spikes/s", True, _rates_hz),
    Measure("interval between spikes", "ms", True, _intervals_ms),
    Measure("irregularity (CV)", "", True, _irregularities),
    Measure("Fano factor", "", True, _fano_factors),
    Measure("spike-count correlation", "", True, _count_correlations),
    Measure("spike-time tiling", "", True, _tilings),
    Measure("population activity", "spikes", True, _population_counts),
    Measure("avalanche size", "spikes", True, _avalanche_sizes),
    Measure(BURSTS, "bursts/s", True, _burst_rates_hz),
    Measure("share of spikes in bursts", "", True, _shares_in_bursts),
    Measure("excitatory share of spikes", "", True, _excitatory_shares),
)
