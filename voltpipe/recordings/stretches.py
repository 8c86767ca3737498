"""A recording's voltage as it is conditioned, but for the z-score: stretches without a break, filtered one by one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from voltpipe.recordings.blanking import Blanking
from voltpipe.recordings.chunks import sample_ranges
from voltpipe.recordings.filters import FilterDesign
from voltpipe.recordings.recording import Recording
from voltpipe.recordings.settings import ConditioningSettings

Intervals = tuple[tuple[float, float], ...]
"""Half-open intervals in s from a raw recording's first sample, gaps not counted."""
Watch = Callable[[int, Float32[np.ndarray, "time channel"]], None]
"""Is shown a raw recording's chunks in order, each with its first sample."""


@dataclass(frozen=True)
class Stretches:
    """A recording in stretches: what is left out of it, the filter, and the common reference."""

    recording: Recording
    settings: ConditioningSettings
    stimulation_intervals_s: Intervals
    filter: FilterDesign
    centre_mv: Float32[np.ndarray, " channel"] | None = None
    """Each channel's own level, about which the channels' common median is taken; None for no common reference."""

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done to the voltage, in words, in order."""
        referenced = () if self.centre_mv is None else ("median of the channels, each about its own mean, subtracted",)
        return self.filter.steps + referenced

    def pieces(self, watch: Watch | None = None) -> Iterator[tuple[int, int, Float32[np.ndarray, "time channel"]]]:
        """Pieces of filtered voltage in mV, in order; of a stretch, each begins where the last ended.

        Args:
            watch: sees every raw chunk, kept or not.

        Yields:
            The half-open range of raw samples that the piece's stretch comes from, as far as it is seen, and the piece.
        """
        rate_ratio = self.filter.rate_hz / self.recording.rate_hz
        warm_up, warm_up_out = self.filter.warm_up, round(self.filter.warm_up * rate_ratio)
        blanking = Blanking(self.recording, self.settings, self.stimulation_intervals_s, warm_up=warm_up)
        borders = set(self.recording.segment_starts)
        stretch_start = last_stop = -1
        cold = 0
        filtered = self.filter.begin()
        for start, stop in sample_ranges(self.recording):
            chunk = self.recording.read_mv(start, stop)
            if watch is not None:
                watch(start, chunk)
            for run_start, run_stop in blanking.kept_runs(start, chunk):
                if run_start != last_stop or run_start in borders:
                    stretch_start, cold, filtered = run_start + warm_up, warm_up_out, self.filter.begin()
                last_stop = run_stop
                samples_mv = filtered(chunk[run_start - start : run_stop - start])
                cold, samples_mv = max(cold - len(samples_mv), 0), samples_mv[cold:]
                if len(samples_mv):
                    yield stretch_start, run_stop, self._referenced(samples_mv)

    def _referenced(self, samples_mv: Float32[np.ndarray, "time channel"]) -> Float32[np.ndarray, "time channel"]:
        if self.centre_mv is None:
            return samples_mv
        return np.asarray(samples_mv - np.median(samples_mv - self.centre_mv, axis=1, keepdims=True))
