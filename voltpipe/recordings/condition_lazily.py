"""A raw recording as it would be conditioned, in mV, without a file of its own: for whoever forecasts it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float32

from voltpipe.recordings.chunks import check_range
from voltpipe.recordings.conditioning import stretches_of
from voltpipe.recordings.recording import Recording, RecordingError
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.stretches import Intervals, Stretches


def condition_lazily(
    recording: Recording, settings: ConditioningSettings, stimulation_intervals_s: Intervals = ()
) -> Recording:
    """The recording as it would be conditioned, but for the z-score; itself where that changes nothing.

    Raises:
        RecordingError: it has no rate for the profile, or nothing is left of it.
    """
    stretches = stretches_of(recording, settings, stimulation_intervals_s)
    keeps_all = not settings.trim_ms and settings.saturation_mv is None and not stimulation_intervals_s
    return recording if keeps_all and not stretches.steps else LazilyConditioned(stretches)


class LazilyConditioned:
    """A `Recording` whose samples are filtered when they are read.

    Reads that go forward make up one pass over the raw samples together, and a read that goes back begins anew. Only
    where saturation decides what is left out, another pass tells which stretches there are. Held in memory is what is
    asked for, and a chunk.
    """

    def __init__(self, stretches: Stretches) -> None:
        recording = stretches.recording
        self.rate_hz = stretches.filter.rate_hz
        self.channel_names = recording.channel_names
        self.channel_types = recording.channel_types
        self.positions_um = recording.positions_um
        self.facts = recording.facts
        self._stretches = stretches
        begins: dict[int, int] = {}
        n_samples = 0
        for raw_start, _, samples_mv in _as_long(stretches).pieces():
            begins.setdefault(raw_start, n_samples)
            n_samples += len(samples_mv)
        if not begins:
            raise RecordingError(
                "trimming, blanking and the filter's warm-up leave no samples. Record longer or trim less.",
                code="nothing-left",
            )
        self.n_samples = n_samples
        self.segment_starts = tuple(begins.values())
        self.segment_starts_s = tuple(raw_start / recording.rate_hz for raw_start in begins)
        """When each segment begins, in s from the raw recording's beginning, gaps in it not counted."""
        self._pieces = stretches.pieces()
        self._held_start = 0
        self._held_mv: Float32[np.ndarray, "time channel"] = np.empty((0, len(self.channel_names)), np.float32)

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """The samples of the half-open range [start_sample, stop_sample) in mV.

        Raises:
            RecordingError: the range reaches out of the recording, or the raw file cannot be read there.
        """
        check_range(start_sample, stop_sample, self.n_samples)
        if start_sample < self._held_start:
            self._pieces, self._held_start, self._held_mv = self._stretches.pieces(), 0, self._held_mv[:0]
        self._drop_before(start_sample)
        while self._held_start + len(self._held_mv) < stop_sample:
            _, _, samples_mv = next(self._pieces)
            self._held_mv = np.concatenate([self._held_mv, samples_mv])
            self._drop_before(start_sample)
        return self._held_mv[: stop_sample - start_sample].copy()

    def _drop_before(self, sample: int) -> None:
        passed = min(sample - self._held_start, len(self._held_mv))
        self._held_start, self._held_mv = self._held_start + passed, self._held_mv[passed:]


def _as_long(stretches: Stretches) -> Stretches:
    """Stretches of the same lengths, of which nothing has to be read where time alone decides what is left out."""
    if stretches.settings.saturation_mv is not None:
        return stretches
    recording = stretches.recording
    silent = _Silent(recording.rate_hz, recording.n_samples, recording.segment_starts)
    return replace(stretches, recording=silent, centre_mv=None)


@dataclass(frozen=True)
class _Silent:
    """A `Recording` of one channel that stays at 0 mV."""

    rate_hz: float
    n_samples: int
    segment_starts: tuple[int, ...]
    channel_names: tuple[str, ...] = ("silent",)
    channel_types: tuple[str, ...] = ("unknown",)
    positions_um: None = None
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        return np.zeros((stop_sample - start_sample, 1), np.float32)
