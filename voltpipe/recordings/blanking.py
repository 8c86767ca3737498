"""What is kept out of a conditioned recording: its beginning, stimulation, and saturation of the amplifiers.

Nothing is put in the place of what is left out: the next kept sample begins a new segment, and no window crosses.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32

from voltpipe.recordings.recording import Recording
from voltpipe.recordings.settings import ConditioningSettings


class Blanking:
    """Says which samples of a recording are kept, as they pass in order.

    A sample is left out where it is trimmed, lies in a stimulation interval, or where at least a share of the channels
    is saturated, and for a margin after. Only earlier samples decide.

    Args:
        recording: the recording whose samples pass.
        settings: what is trimmed, what counts as saturated, and the margin.
        stimulation_intervals_s: half-open intervals in s from the recording's first sample, gaps not counted.
        warm_up: so many samples less are trimmed, for a filter that needs them.
    """

    def __init__(
        self,
        recording: Recording,
        settings: ConditioningSettings,
        stimulation_intervals_s: Iterable[tuple[float, float]] = (),
        *,
        warm_up: int = 0,
    ) -> None:
        rate_hz = recording.rate_hz
        self._saturation_mv, self._share = settings.saturation_mv, settings.saturated_share
        self._margin = round(settings.blanking_margin_ms * rate_hz / 1000)
        stimulated = [
            (int(np.floor(start_s * rate_hz)), int(np.ceil(stop_s * rate_hz)) + self._margin)
            for start_s, stop_s in stimulation_intervals_s
        ]
        trimmed = max(settings.first_sample(rate_hz) - warm_up, 0)
        self._left_out = [(0, trimmed), *stimulated]
        self._borders = np.array(recording.segment_starts)
        self._blank_until = 0

    def kept_runs(
        self, start_sample: int, samples_mv: Float32[np.ndarray, "time channel"]
    ) -> Iterator[tuple[int, int]]:
        """Half-open ranges of the recording's samples to keep, none across a gap in time, out of the next chunk."""
        kept = np.ones(len(samples_mv), bool)
        for first, last in self._left_out:
            kept[max(first - start_sample, 0) : max(last - start_sample, 0)] = False
        if self._saturation_mv is not None:
            kept &= self._unsaturated(start_sample, samples_mv, self._saturation_mv)
        changes = np.flatnonzero(np.diff(kept, prepend=False, append=False)) + start_sample
        for first, last in changes.reshape(-1, 2).tolist():
            inner = self._borders[(self._borders > first) & (self._borders < last)].tolist()
            yield from pairwise([first, *inner, last])

    def _unsaturated(
        self, start_sample: int, samples_mv: Float32[np.ndarray, "time channel"], saturation_mv: float
    ) -> Bool[np.ndarray, " time"]:
        saturated = (np.abs(samples_mv) >= saturation_mv).mean(axis=1) >= self._share
        place = np.arange(start_sample, start_sample + len(samples_mv))
        blank_until = np.maximum.accumulate(np.where(saturated, place + 1 + self._margin, self._blank_until))
        self._blank_until = int(blank_until[-1])
        return np.asarray(place >= blank_until)
