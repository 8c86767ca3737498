"""What a recording is to everything that comes after the file formats."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int

from voltpipe.errors import VoltpipeError

FILTERED_FACT = "filtered_as"
"""The fact that names the profile by which voltpipe filtered a voltage before it wrote the file."""


class RecordingError(VoltpipeError):
    """A raw recording that cannot be trusted, with the reason; it goes to quarantine."""


@runtime_checkable
class Recording(Protocol):
    """The voltage of several channels over time, read lazily.

    Samples are counted from 0 to `n_samples`; a gap in time takes no samples, but begins a new segment.
    """

    @property
    def rate_hz(self) -> float:
        """Samples a second."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name a channel, all different."""

    @property
    def channel_types(self) -> tuple[str, ...]:
        """What each channel records ("excitatory", "inhibitory", "electrode", ...), "unknown" where nobody said."""

    @property
    def n_samples(self) -> int:
        """Samples of each channel."""

    @property
    def segment_starts(self) -> tuple[int, ...]:
        """The first sample of each stretch without a gap in time; begins with 0."""

    @property
    def positions_um(self) -> Float64[np.ndarray, "channel axis"] | None:
        """Where each channel's electrode lies (x, y, perhaps z), in um; None where nobody said."""

    @property
    def facts(self) -> Mapping[str, str | int | float]:
        """What the file and its sidecar say besides: format, preparation, condition, seeds."""

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """The samples of the half-open range [start_sample, stop_sample) in mV.

        Raises:
            RecordingError: the file cannot be read there.
        """


CHUNK_VALUES = 1 << 20
"""Values in a chunk, over all channels; about 10 s of 100 channels at 1 kHz."""


def chunk_samples(n_channels: int) -> int:
    """Samples in a chunk of a recording with this many channels."""
    return max(1, CHUNK_VALUES // n_channels)


def sample_ranges(
    recording: Recording, start_sample: int = 0, stop_sample: int | None = None
) -> Iterator[tuple[int, int]]:
    """Half-open ranges of samples, a chunk each, that cover a recording from `start_sample` to `stop_sample`."""
    stop_sample = recording.n_samples if stop_sample is None else stop_sample
    step = chunk_samples(len(recording.channel_names))
    for start in range(start_sample, stop_sample, step):
        yield start, min(start + step, stop_sample)


def check_range(start_sample: int, stop_sample: int, n_samples: int) -> None:
    """Refuse a range that reaches out of a recording.

    Raises:
        RecordingError: not 0 <= start <= stop <= n_samples.
    """
    if not 0 <= start_sample <= stop_sample <= n_samples:
        raise RecordingError(
            f"samples [{start_sample}, {stop_sample}) were requested, but the recording has [0, {n_samples}).",
            code="range-outside-recording",
        )


@runtime_checkable
class CutRecording(Recording, Protocol):
    """A recording of which something is left out."""

    @property
    def segment_starts_s(self) -> tuple[float, ...]:
        """When each segment begins, in s from the raw recording's beginning, gaps in it not counted."""


def sample_times_s(recording: Recording, samples: Int[np.ndarray, " sample"]) -> Float64[np.ndarray, " sample"]:
    """When samples of a recording were taken, in s from the raw recording's beginning, gaps in it not counted."""
    if not isinstance(recording, CutRecording):
        return samples / recording.rate_hz
    segments = np.searchsorted(recording.segment_starts, samples, side="right") - 1
    into_segment_s = (samples - np.array(recording.segment_starts)[segments]) / recording.rate_hz
    return np.asarray(np.array(recording.segment_starts_s)[segments] + into_segment_s)


RECORDED_FACT = "recorded_at"
"""The fact that says, in ISO 8601, when a recording began, where its file knows that."""


def recording_time_fact(stated: str | datetime | None) -> dict[str, str]:
    """The fact, from what a file says; nothing where that is no date."""
    try:
        date = datetime.fromisoformat(stated) if isinstance(stated, str) else stated
    except ValueError:
        return {}
    return {RECORDED_FACT: date.isoformat()} if date else {}
