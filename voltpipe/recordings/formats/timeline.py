"""Sampling rate and gaps from time stamps."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from voltpipe.recordings.recording import RecordingError, chunk_samples

_JITTER = 0.1
"""Largest deviation of a regular step, as a share of the period. Time stamps are often rounded."""
_GAP_PERIODS = 1.5
"""Shortest gap, in periods."""
_STEPS_FOR_PERIOD = 1000
_GAPS_IN_A_ROW = 10
"""Number of gaps with single samples between them that count as a change of rate."""


class Timing(NamedTuple):
    """Sampling rate and gaps of a file. The rate is None if the file does not state it."""

    rate_hz: float | None = None
    segment_starts: tuple[int, ...] = (0,)
    """First sample of each segment."""
    dropped_samples: int = 0
    """Number of samples that would fill the gaps."""


class Timeline:
    """Accumulator of time stamps in seconds, which finds the sampling rate and the gaps.

    The period is the median of the first thousand steps. The rate is then refined over all regular steps.
    """

    def __init__(self) -> None:
        self._n_samples = 0
        self._last_s = np.empty(0)
        self._period_s = 0.0
        self._regular_steps = 0
        self._regular_s = 0.0
        self._starts = [0]
        self._dropped_samples = 0
        self._were_gaps = np.zeros(_GAPS_IN_A_ROW - 1, bool)
        """Whether each of the last steps was a gap."""

    def add(self, times_s: Float64[np.ndarray, " time"]) -> None:
        """Add the next time stamps.

        Raises:
            RecordingError: a stamp is not a number, a step is neither regular nor a gap, or the rate changes.
        """
        if not np.isfinite(times_s).all():
            raise RecordingError(
                f"The time stamp of sample {self._n_samples + np.isfinite(times_s).argmin()} is not a number. "
                "Export the recording again.",
                code="timestamp-not-finite",
            )
        steps_s = np.diff(np.concatenate([self._last_s, times_s]))
        first_sample = self._n_samples + 1 - self._last_s.size
        self._n_samples += times_s.size
        self._last_s = times_s[-1:].copy() if times_s.size else self._last_s
        if not steps_s.size:
            return
        if not self._period_s:
            self._period_s = float(np.median(steps_s[:_STEPS_FOR_PERIOD]))
            if not self._period_s > 0:
                raise RecordingError(
                    f"Time stamps do not increase: the first steps are {self._period_s:g} s long. "
                    "Export the recording again.",
                    code="timestamps-not-increasing",
                )
        self._check_steps(steps_s, first_sample)

    def _check_steps(self, steps_s: Float64[np.ndarray, " step"], first_sample: int) -> None:
        periods = steps_s / self._period_s
        regular = np.abs(periods - 1) <= _JITTER
        gap = periods > _GAP_PERIODS
        irregular = np.flatnonzero(~(regular | gap))
        if irregular.size:
            raise RecordingError(
                f"Time stamps are irregular: the step to sample {first_sample + irregular[0]} is "
                f"{steps_s[irregular[0]]:g} s. Expected {self._period_s:g} s. "
                "Resample the recording to a regular rate.",
                code="timestamps-irregular",
            )
        gaps = np.concatenate([self._were_gaps, gap])
        new_rate = np.convolve(gaps, np.ones(_GAPS_IN_A_ROW, int), "valid") == _GAPS_IN_A_ROW
        if new_rate.any():
            first = first_sample + int(new_rate.argmax()) - len(self._were_gaps)
            raise RecordingError(
                f"The sampling rate changes at sample {first - 1}, from {1 / self._period_s:g} Hz to about "
                f"{1 / steps_s[new_rate.argmax()]:g} Hz. Export the part at each rate as its own recording.",
                code="rate-changes",
            )
        self._were_gaps = gaps[len(gap) :]
        self._regular_steps += int(regular.sum())
        self._regular_s += float(steps_s[regular].sum())
        self._dropped_samples += int(np.rint(periods[gap] - 1).sum())
        self._starts += (np.flatnonzero(gap) + first_sample).tolist()

    def finish(self) -> Timing:
        """Return the rate and the gaps of all time stamps so far.

        Raises:
            RecordingError: there are too few time stamps for a rate.
        """
        if not self._regular_steps:
            raise RecordingError(
                f"{self._n_samples} time stamps are too few to determine the rate. Set it with the hint `rate_hz`.",
                code="timestamps-too-few",
            )
        # Time stamps are sums of rounded numbers, so only about nine digits of the rate are meaningful.
        rate_hz = float(f"{self._regular_steps / self._regular_s:.9g}")
        return Timing(rate_hz, tuple(self._starts), self._dropped_samples)


def read_timing(read_times_s: Callable[[int, int], Float64[np.ndarray, " time"]], n_samples: int) -> Timing:
    """Find rate and gaps from the time stamps of a file, read in chunks.

    Args:
        read_times_s: reads the time stamps of a half-open range of samples, in s.
        n_samples: number of time stamps.

    Raises:
        RecordingError: the time stamps are irregular, or too few for a rate.
    """
    timeline, step = Timeline(), chunk_samples(1)
    for start in range(0, n_samples, step):
        timeline.add(read_times_s(start, min(start + step, n_samples)))
    return timeline.finish()
