"""When samples were taken: what is left out of a recording shifts none of those that are kept."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int

from voltpipe.recordings.recording import Recording


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
