"""What one pass over a recording tells of its samples; the quality checks judge these figures."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from voltpipe.recordings.chunks import sample_ranges
from voltpipe.recordings.moments import Moments
from voltpipe.recordings.recording import Recording

_CLIPPED_RUN = 5
"""Samples in a row at a channel's extreme that count as clipped: neurons stand at reset for two or three."""


@dataclass(frozen=True)
class SignalFigures:
    """Figures a channel. Samples that are not finite are counted, and left out of all other figures."""

    n_not_finite: Int[np.ndarray, " channel"]
    first_not_finite: Int[np.ndarray, " channel"]
    """The first such sample; -1 where there is none."""
    mean_mv: Float64[np.ndarray, " channel"]
    sd_mv: Float64[np.ndarray, " channel"]
    low_mv: Float32[np.ndarray, " channel"]
    high_mv: Float32[np.ndarray, " channel"]
    flat: Bool[np.ndarray, " channel"]
    """Whether the channel never changes, in the whole recording or in its calibration span."""
    clipped_share: Float64[np.ndarray, " channel"]
    """Share of samples in runs of at least five that stand at the channel's lowest or highest value."""


def measure(recording: Recording, calibration_start: int, calibration_stop: int) -> SignalFigures:
    """Go once through a recording, a chunk at a time. The calibration span is a half-open range of samples."""
    n_channels = len(recording.channel_names)
    n_not_finite = np.zeros(n_channels, np.int64)
    first_not_finite = np.full(n_channels, -1, np.int64)
    moments, whole, calibration = Moments(n_channels), _Extremes(n_channels), _Extremes(n_channels)
    at_high, at_low = _Clipped(n_channels), _Clipped(n_channels)
    for start, stop in sample_ranges(recording):
        chunk = recording.read_mv(start, stop)
        finite = np.isfinite(chunk)
        bad = ~finite
        first_bad = np.where(bad.any(axis=0), start + bad.argmax(axis=0), -1)
        first_not_finite = np.where(first_not_finite < 0, first_bad, first_not_finite)
        n_not_finite += bad.sum(axis=0)
        moments.add(chunk, finite)
        lows, highs = np.where(finite, chunk, np.inf), np.where(finite, chunk, -np.inf)
        whole.add(lows, highs)
        inside = slice(max(calibration_start - start, 0), max(calibration_stop - start, 0))
        calibration.add(lows[inside], highs[inside])
        at_high.add(highs)
        at_low.add(-lows)
    return SignalFigures(
        n_not_finite=n_not_finite,
        first_not_finite=first_not_finite,
        mean_mv=moments.mean,
        sd_mv=moments.sd(),
        low_mv=whole.low,
        high_mv=whole.high,
        flat=whole.flat() | calibration.flat(),
        clipped_share=(at_high.count + at_low.count) / recording.n_samples,
    )


class _Extremes:
    def __init__(self, n_channels: int) -> None:
        self.low = np.full(n_channels, np.inf, np.float32)
        self.high = np.full(n_channels, -np.inf, np.float32)

    def add(self, lows: Float[np.ndarray, "time channel"], highs: Float[np.ndarray, "time channel"]) -> None:
        self.low = np.minimum(self.low, lows.min(axis=0, initial=np.inf))
        self.high = np.maximum(self.high, highs.max(axis=0, initial=-np.inf))

    def flat(self) -> Bool[np.ndarray, " channel"]:
        return np.asarray(self.low == self.high)


class _Clipped:
    """Counts samples in long runs at the highest value so far; a higher value starts the count anew."""

    def __init__(self, n_channels: int) -> None:
        self.count = np.zeros(n_channels, np.int64)
        self._highest = np.full(n_channels, -np.inf, np.float32)
        self._run = np.zeros(n_channels, np.int32)
        """Length of the run that the last chunk ended with."""

    def add(self, values: Float32[np.ndarray, "time channel"]) -> None:
        highest = values.max(axis=0)
        higher = highest > self._highest
        self._highest = np.maximum(self._highest, highest)
        self._run[higher] = 0
        self.count[higher] = 0
        held = values == self._highest
        position = np.arange(1, len(values) + 1, dtype=np.int32)[:, None]
        last_other = np.maximum.accumulate(np.where(held, np.int32(0), position), axis=0)
        run = np.where(held, position - last_other + np.where(last_other == 0, self._run, np.int32(0)), np.int32(0))
        self.count += _CLIPPED_RUN * (run == _CLIPPED_RUN).sum(axis=0) + (run > _CLIPPED_RUN).sum(axis=0)
        self._run = run[-1]
