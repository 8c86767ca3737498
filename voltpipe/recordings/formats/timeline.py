"""Rate and gaps, from time stamps."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from voltpipe.recordings.recording import RecordingError

_JITTER = 0.1
"""A step may be this share of a period longer or shorter than the period: stamps are often rounded."""
_GAP_PERIODS = 1.5
"""A step of more periods than this is a gap."""
_STEPS_FOR_PERIOD = 1000
_GAPS_IN_A_ROW = 10
"""So many gaps with a single sample between each and the next are another rate."""


class Timing(NamedTuple):
    """What a file says of the time of its samples."""

    rate_hz: float | None = None
    segment_starts: tuple[int, ...] = (0,)
    """The first sample of each stretch without a gap."""
    dropped_samples: int = 0
    """How many samples would fill the gaps."""


class Timeline:
    """Takes time stamps in seconds, a chunk at a time, and tells the rate and where gaps are.

    The period is the median of the first thousand steps, then refined over all regular ones.
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
        """The last steps so far."""

    def add(self, times_s: Float64[np.ndarray, " time"]) -> None:
        """Take the next time stamps.

        Raises:
            RecordingError: a stamp is not a number, a step neither regular nor a gap, or the rate changes.
        """
        if not np.isfinite(times_s).all():
            raise RecordingError(
                f"the time stamp of sample {self._n_samples + np.isfinite(times_s).argmin()} is not a number. "
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
                    f"time stamps do not increase: the first steps are {self._period_s:g} s long. "
                    "Export the recording again.",
                    code="timestamps-not-increasing",
                )
        self._judge(steps_s, first_sample)

    def _judge(self, steps_s: Float64[np.ndarray, " step"], first_sample: int) -> None:
        periods = steps_s / self._period_s
        regular = np.abs(periods - 1) <= _JITTER
        gap = periods > _GAP_PERIODS
        odd = np.flatnonzero(~(regular | gap))
        if odd.size:
            raise RecordingError(
                f"time stamps are irregular: the step to sample {first_sample + odd[0]} is {steps_s[odd[0]]:g} s, "
                f"expected {self._period_s:g} s. Resample the recording to a regular rate.",
                code="timestamps-irregular",
            )
        gaps = np.concatenate([self._were_gaps, gap])
        rows = np.convolve(gaps, np.ones(_GAPS_IN_A_ROW, int), "valid") == _GAPS_IN_A_ROW
        if rows.any():
            first = first_sample + int(rows.argmax()) - len(self._were_gaps)
            raise RecordingError(
                f"the sampling rate changes at sample {first - 1}, from {1 / self._period_s:g} Hz to about "
                f"{1 / steps_s[rows.argmax()]:g} Hz. Export the part at each rate as its own recording.",
                code="rate-changes",
            )
        self._were_gaps = gaps[len(gap) :]
        self._regular_steps += int(regular.sum())
        self._regular_s += float(steps_s[regular].sum())
        self._dropped_samples += int(np.rint(periods[gap] - 1).sum())
        self._starts += (np.flatnonzero(gap) + first_sample).tolist()

    def finish(self) -> Timing:
        """Rate and gaps of all time stamps so far.

        Raises:
            RecordingError: too few time stamps to tell a rate.
        """
        if not self._regular_steps:
            raise RecordingError(
                f"{self._n_samples} time stamps are too few to tell the rate. Give it with the hint `rate_hz`.",
                code="timestamps-too-few",
            )
        # Time stamps are sums of rounded numbers: nine digits are what they are good for.
        rate_hz = float(f"{self._regular_steps / self._regular_s:.9g}")
        return Timing(rate_hz, tuple(self._starts), self._dropped_samples)
