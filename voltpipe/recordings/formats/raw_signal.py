"""The result of opening a file, before hints are applied; memory-mapped samples; checks shared by all formats."""

import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Num

from voltpipe.recordings.recording import RecordingError

_REASON_LENGTH = 300
"""Maximum length of a library's message within an error. Some libraries write very long ones."""

ReadSamples = Callable[[int, int], Num[np.ndarray, "time channel"]]


@dataclass(frozen=True)
class RawSignal:
    """Voltages and metadata of a file. Values that the file does not state are None.

    `read(start_sample, stop_sample)` returns the samples of a half-open range as stored, in `unit`. Ranges must be
    within [0, n_samples). `positions_um` holds the positions of the electrodes in um. `dropped_samples` is the number
    of samples that would fill the gaps in time.
    """

    read: ReadSamples
    n_samples: int
    n_channels: int
    unit: str | None = None
    rate_hz: float | None = None
    channel_names: tuple[str, ...] | None = None
    channel_types: tuple[str, ...] | None = None
    segment_starts: tuple[int, ...] = (0,)
    dropped_samples: int = 0
    positions_um: Float64[np.ndarray, "channel axis"] | None = None
    facts: Mapping[str, str | int | float] = field(default_factory=dict)


@contextmanager
def raise_as_damaged(path: Path, expected: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn a library's `errors` into a RecordingError that names the file and the expected format."""
    try:
        yield
    except RecordingError:
        raise
    except errors as error:
        reason = " ".join(str(error).split())[:_REASON_LENGTH] or type(error).__name__
        raise RecordingError(
            f"{path.name} is damaged or not a {expected} file: {reason}. Export it again.", code="file-damaged"
        ) from error


def check_numeric(dtype: np.dtype, path: Path, subject: str) -> None:
    """Check that samples are integers or floating-point numbers.

    Args:
        dtype: the type of the samples.
        path: the file.
        subject: the words for the samples in the error, in the plural.

    Raises:
        RecordingError: they are of another type.
    """
    if dtype.kind not in "iuf":
        raise RecordingError(
            f"{path.name}: {subject} are {dtype}. Expected integers or floating-point numbers.",
            code="samples-not-numeric",
        )


class MappedSamples:
    """A memory-mapped array that returns copies and releases the pages it has read.

    Otherwise everything read so far would count as memory of the process, up to the size of the file.
    """

    def __init__(self, samples: np.memmap) -> None:
        self._samples = samples
        self.shape: tuple[int, ...] = samples.shape
        self.dtype: np.dtype = samples.dtype

    def __getitem__(self, range_: slice) -> Num[np.ndarray, "time channel"]:
        samples = np.array(self._samples[range_])
        mapping: mmap.mmap = self._samples._mmap  # type: ignore[attr-defined]  # NumPy has no public access
        mapping.madvise(mmap.MADV_DONTNEED)
        return samples
