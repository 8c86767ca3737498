"""A recording's voltage as it is conditioned, but for the z-score: stretches without a break, filtered one by one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32

from voltpipe.recordings.conditioning.filters import FilterDesign
from voltpipe.recordings.recording import Recording, sample_ranges
from voltpipe.recordings.settings import ConditioningSettings

Intervals = tuple[tuple[float, float], ...]
"""Half-open intervals in s from a raw recording's first sample, gaps not counted."""
Watch = Callable[[int, Float32[np.ndarray, "time channel"]], None]
"""Is shown a raw recording's chunks in order, each with its first sample."""


@dataclass(frozen=True)
class ConditionedSegments:
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
