"""Recordings are gone through in chunks, so that memory is bounded whatever their length."""

from collections.abc import Iterator

from voltpipe.recordings.recording import Recording, RecordingError

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
