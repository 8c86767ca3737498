"""The Recording protocol, chunked reading, and sample times."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int

from voltpipe.errors import VoltpipeError

FILTERED_FACT = "filtered_as"
"""Fact that names the profile with which voltpipe filtered the voltage before it wrote the file."""


class RecordingError(VoltpipeError):
    """Raw recording that cannot be trusted, with the reason. It is quarantined."""


@runtime_checkable
class Recording(Protocol):
    """Voltage of several channels over time, read lazily.

    Samples are counted from 0 to `n_samples`. A gap in time has no samples, but begins a new segment.
    """

    @property
    def rate_hz(self) -> float:
        """Sampling rate in Hz."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Unique name of each channel."""

    @property
    def channel_types(self) -> tuple[str, ...]:
        """Type of each channel ("excitatory", "inhibitory", "electrode", ...), or "unknown"."""

    @property
    def n_samples(self) -> int:
        """Number of samples of each channel."""

    @property
    def segment_starts(self) -> tuple[int, ...]:
        """First sample of each segment. The first is 0."""

    @property
    def positions_um(self) -> Float64[np.ndarray, "channel axis"] | None:
        """Electrode position of each channel (x, y, perhaps z) in um; None if unknown."""

    @property
    def facts(self) -> Mapping[str, str | int | float]:
        """Other metadata of the file and its sidecar: format, preparation, condition, seeds."""

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """Return the samples of the half-open range [start_sample, stop_sample) in mV.

        Raises:
            RecordingError: the file cannot be read there.
        """


CHUNK_VALUES = 1 << 20
"""Number of values in a chunk, over all channels: about 10 s of 100 channels at 1 kHz."""


def chunk_samples(n_channels: int) -> int:
    """Return the number of samples in a chunk of a recording."""
    return max(1, CHUNK_VALUES // n_channels)


def sample_ranges(
    recording: Recording, start_sample: int = 0, stop_sample: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield half-open sample ranges, one per chunk, that cover a recording."""
    stop_sample = recording.n_samples if stop_sample is None else stop_sample
    step = chunk_samples(len(recording.channel_names))
    for start in range(start_sample, stop_sample, step):
        yield start, min(start + step, stop_sample)


def check_range(start_sample: int, stop_sample: int, n_samples: int) -> None:
    """Check that a range lies within a recording.

    Raises:
        RecordingError: not 0 <= start <= stop <= n_samples.
    """
    if not 0 <= start_sample <= stop_sample <= n_samples:
        raise RecordingError(
            f"Samples [{start_sample}, {stop_sample}) were requested, but the recording has [0, {n_samples}).",
            code="range-outside-recording",
        )


@runtime_checkable
class CutRecording(Recording, Protocol):
    """Recording with parts removed."""

    @property
    def segment_starts_s(self) -> tuple[float, ...]:
        """Start of each segment in s from the start of the raw recording, without its gaps."""


def sample_times_s(recording: Recording, samples: Int[np.ndarray, " sample"]) -> Float64[np.ndarray, " sample"]:
    """Return the times of samples in s from the start of the raw recording, without its gaps."""
    if not isinstance(recording, CutRecording):
        return samples / recording.rate_hz
    segments = np.searchsorted(recording.segment_starts, samples, side="right") - 1
    into_segment_s = (samples - np.array(recording.segment_starts)[segments]) / recording.rate_hz
    return np.asarray(np.array(recording.segment_starts_s)[segments] + into_segment_s)


RECORDED_FACT = "recorded_at"
"""Fact with the start time of a recording in ISO 8601, if its file states it."""


def recording_time_fact(stated: str | datetime | None) -> dict[str, str]:
    """Return the start time as a fact; nothing if the file states no valid date."""
    try:
        date = datetime.fromisoformat(stated) if isinstance(stated, str) else stated
    except ValueError:
        return {}
    return {RECORDED_FACT: date.isoformat()} if date else {}
