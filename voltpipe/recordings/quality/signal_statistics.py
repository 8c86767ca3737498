"""Per-channel statistics of a recording, from one pass over its samples."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from voltpipe.recordings.recording import Recording, sample_ranges
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.signals.noise import HumMeter, NoiseSample, noise_level_mv
from voltpipe.signals.running_statistics import ClippedRuns, RunningMoments

_PARTS = 10
"""Number of equal parts of a recording whose means are compared for drift."""


@dataclass(frozen=True)
class SignalStatistics:
    """Statistics per channel. Samples that are not finite are counted, and excluded from all other statistics."""

    n_not_finite: Int[np.ndarray, " channel"]
    first_not_finite: Int[np.ndarray, " channel"]
    """First sample that is not finite; -1 if there is none."""
    mean_mv: Float64[np.ndarray, " channel"]
    sd_mv: Float64[np.ndarray, " channel"]
    low_mv: Float32[np.ndarray, " channel"]
    high_mv: Float32[np.ndarray, " channel"]
    flat: Bool[np.ndarray, " channel"]
    """Whether the channel never changes, in the whole recording or in its calibration span."""
    clipped_share: Float64[np.ndarray, " channel"]
    """Fraction of samples in runs of at least five at the channel's lowest or highest value."""
    noise_mv: Float64[np.ndarray, " channel"]
    """Noise as SD (1.4826 x median absolute deviation), from evenly spaced samples."""
    hum_share: Float64[np.ndarray, "line channel"]
    """Fraction of the variance at 50 and at 60 Hz."""
    drift_sd: Float64[np.ndarray, " channel"]
    """Largest distance of a tenth's mean from the calibration mean, in SDs of the calibration."""


class SignalStatisticsAccumulator:
    """Accumulator of signal statistics over the chunks of a recording, in order."""

    def __init__(self, recording: Recording, settings: ConditioningSettings) -> None:
        n_channels, n_samples = len(recording.channel_names), recording.n_samples
        self._n_samples = n_samples
        first = settings.first_sample(recording.rate_hz)
        self._calibration_span = first, first + settings.calibration_samples(recording.rate_hz)
        self._part_edges = [n_samples * part // _PARTS for part in range(_PARTS + 1)]
        self._parts = [RunningMoments(n_channels) for _ in range(_PARTS)]
        self._calibration = RunningMoments(n_channels)
        self._n_not_finite = np.zeros(n_channels, np.int64)
        self._first_not_finite = np.full(n_channels, -1, np.int64)
        self._whole_extremes, self._calibration_extremes = _Extremes(n_channels), _Extremes(n_channels)
        self._at_high, self._at_low = ClippedRuns(n_channels), ClippedRuns(n_channels)
        self._noise = NoiseSample(0, n_samples)
        self._hum = HumMeter(recording.rate_hz, n_samples, n_channels)

    def add(self, start_sample: int, samples_mv: Float32[np.ndarray, "time channel"]) -> None:
        """Add the next samples. The first is `start_sample`."""
        finite = np.isfinite(samples_mv)
        lows = highs = known = samples_mv
        if not finite.all():
            bad = ~finite
            first_bad = np.where(bad.any(axis=0), start_sample + bad.argmax(axis=0), -1)
            self._first_not_finite = np.where(self._first_not_finite < 0, first_bad, self._first_not_finite)
            self._n_not_finite += bad.sum(axis=0)
            lows, highs, known = (np.where(finite, samples_mv, np.float32(other)) for other in (np.inf, -np.inf, 0))
        inside = self._within(self._calibration_span, start_sample)
        self._calibration_extremes.add(lows[inside], highs[inside])
        self._calibration.add(samples_mv[inside], finite[inside])
        for part, moments in enumerate(self._parts):
            of_part = self._within((self._part_edges[part], self._part_edges[part + 1]), start_sample)
            if len(samples_mv[of_part]):
                moments.add(samples_mv[of_part], finite[of_part])
        low, high = self._whole_extremes.add(lows, highs)
        self._at_high.add(highs, high)
        self._at_low.add(-lows, -low)
        self._noise.add(start_sample, known)
        self._hum.add(start_sample, known)

    def figures(self) -> SignalStatistics:
        """Return the statistics, after the last samples were added."""
        moments = RunningMoments(len(self._n_not_finite))
        for part in self._parts:
            moments.merge(part)
        variance = np.maximum(moments.sd() ** 2, np.finfo(np.float64).tiny)
        away = np.max([np.abs(part.mean - self._calibration.mean) * (part.n > 0) for part in self._parts], axis=0)
        calibration_sd = self._calibration.sd()
        drift_sd = np.divide(away, calibration_sd, out=np.zeros_like(away), where=calibration_sd > 0)
        return SignalStatistics(
            n_not_finite=self._n_not_finite,
            first_not_finite=self._first_not_finite,
            mean_mv=moments.mean,
            sd_mv=moments.sd(),
            low_mv=self._whole_extremes.low,
            high_mv=self._whole_extremes.high,
            flat=self._whole_extremes.flat() | self._calibration_extremes.flat(),
            clipped_share=(self._at_high.count + self._at_low.count) / self._n_samples,
            noise_mv=noise_level_mv(self._noise.samples_mv()),
            hum_share=self._hum.variance_mv2() / variance,
            drift_sd=drift_sd,
        )

    @staticmethod
    def _within(span: tuple[int, int], start_sample: int) -> slice:
        return slice(max(span[0] - start_sample, 0), max(span[1] - start_sample, 0))


def measure_signal(recording: Recording, settings: ConditioningSettings) -> SignalStatistics:
    """Measure a recording in one pass, a chunk at a time."""
    accumulator = SignalStatisticsAccumulator(recording, settings)
    for start, stop in sample_ranges(recording):
        accumulator.add(start, recording.read_mv(start, stop))
    return accumulator.figures()


class _Extremes:
    def __init__(self, n_channels: int) -> None:
        self.low = np.full(n_channels, np.inf, np.float32)
        self.high = np.full(n_channels, -np.inf, np.float32)

    def add(
        self, lows: Float32[np.ndarray, "time channel"], highs: Float32[np.ndarray, "time channel"]
    ) -> tuple[Float32[np.ndarray, " channel"], Float32[np.ndarray, " channel"]]:
        """Add the next samples, and return their extremes."""
        low, high = lows.min(axis=0, initial=np.inf), highs.max(axis=0, initial=-np.inf)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        return low, high

    def flat(self) -> Bool[np.ndarray, " channel"]:
        return np.asarray(self.low == self.high)
