"""Segments of a recording, filtered one by one: conditioning without the z-score."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32

from voltpipe.recordings.conditioning.filters import FilterDesign
from voltpipe.recordings.recording import Recording, sample_ranges
from voltpipe.recordings.settings import ConditioningSettings

Intervals = tuple[tuple[float, float], ...]
"""Half-open intervals in s from the first sample of a raw recording, without gaps."""
Watch = Callable[[int, Float32[np.ndarray, "time channel"]], None]
"""Receives the chunks of a raw recording in order, each with its first sample."""


@dataclass(frozen=True)
class ConditionedSegments:
    """Recording in segments: blanking, filter and common reference."""

    recording: Recording
    settings: ConditioningSettings
    stimulation_intervals_s: Intervals
    filter: FilterDesign
    centre_mv: Float32[np.ndarray, " channel"] | None = None
    """Level of each channel, subtracted before the median over channels; None for no common reference."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Descriptions of the processing steps, in order."""
        referenced = () if self.centre_mv is None else ("median of the channels, each about its own mean, subtracted",)
        return self.filter.steps + referenced

    def chunks(self, watch: Watch | None = None) -> Iterator[tuple[int, int, Float32[np.ndarray, "time channel"]]]:
        """Yield the filtered voltage in mV chunk by chunk, in order.

        Args:
            watch: receives every raw chunk, kept or not.

        Yields:
            Start and stop of the raw samples of the segment so far, and the next filtered samples of the segment.
        """
        rate_ratio = self.filter.rate_hz / self.recording.rate_hz
        warm_up, warm_up_out = self.filter.warm_up, round(self.filter.warm_up * rate_ratio)
        blanking = Blanking(self.recording, self.settings, self.stimulation_intervals_s, warm_up=warm_up)
        borders = set(self.recording.segment_starts)
        segment_start = last_stop = -1
        cold = 0
        filtered = self.filter.begin()
        for start, stop in sample_ranges(self.recording):
            chunk = self.recording.read_mv(start, stop)
            if watch is not None:
                watch(start, chunk)
            for run_start, run_stop in blanking.kept_runs(start, chunk):
                if run_start != last_stop or run_start in borders:
                    segment_start, cold, filtered = run_start + warm_up, warm_up_out, self.filter.begin()
                last_stop = run_stop
                samples_mv = filtered(chunk[run_start - start : run_stop - start])
                cold, samples_mv = max(cold - len(samples_mv), 0), samples_mv[cold:]
                if len(samples_mv):
                    yield segment_start, run_stop, self._referenced(samples_mv)

    def _referenced(self, samples_mv: Float32[np.ndarray, "time channel"]) -> Float32[np.ndarray, "time channel"]:
        if self.centre_mv is None:
            return samples_mv
        return np.asarray(samples_mv - np.median(samples_mv - self.centre_mv, axis=1, keepdims=True))


class Blanking:
    """Selection of the samples that are kept, chunk by chunk.

    Left out are trimmed samples, stimulation intervals and times at which many channels are saturated, each with a
    margin after it. Only earlier samples decide.

    Args:
        recording: the raw recording.
        settings: trimming, limits of saturation, and the margin.
        stimulation_intervals_s: half-open intervals in s from the first sample, without gaps.
        warm_up: number of trimmed samples that are kept as the filter's warm-up.
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
        """Yield the half-open sample ranges to keep from the next chunk. None crosses a gap in time."""
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
