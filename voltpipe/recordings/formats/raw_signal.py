"""What an opener of a format finds in a file, before hints are applied to it."""

import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Num

from voltpipe.recordings.recording import RecordingError

_REASON_LENGTH = 300
"""Some libraries say more than a person reads."""

ReadSamples = Callable[[int, int], Num[np.ndarray, "time channel"]]


@dataclass(frozen=True)
class RawSignal:
    """A file's own word on its voltages; None where it says nothing.

    `read(start_sample, stop_sample)` gives the numbers of a half-open range as they stand in the file, in `unit`.
    It is only asked for ranges within [0, n_samples). `positions_um` says where the electrodes lie, in um,
    `dropped_samples` how many samples would fill the gaps in time.
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
    """Turn a library's `errors` into a RecordingError that names the file and what was expected of it."""
    try:
        yield
    except RecordingError:
        raise
    except errors as error:
        reason = " ".join(str(error).split())[:_REASON_LENGTH] or type(error).__name__
        raise RecordingError(
            f"{path.name} is damaged or not a {expected} file: {reason}. Export it again.", code="file-damaged"
        ) from error


def check_numeric(dtype: np.dtype, path: Path, what: str) -> None:
    """Refuse numbers that are no real numbers."""
    if dtype.kind not in "iuf":
        raise RecordingError(
            f"{path.name}: {what} are {dtype}. Expected integers or floating-point numbers.", code="samples-not-numeric"
        )


class MappedSamples:
    """A memory-mapped array that gives copies, and lets go of the pages that it has read.

    Otherwise all that was ever read would count as memory of the process, up to the size of the file.
    """

    def __init__(self, samples: np.memmap) -> None:
        self._samples = samples
        self.shape: tuple[int, ...] = samples.shape
        self.dtype: np.dtype = samples.dtype

    def __getitem__(self, range_: slice) -> Num[np.ndarray, "time channel"]:
        copied = np.array(self._samples[range_])
        mapping: mmap.mmap = self._samples._mmap  # type: ignore[attr-defined]  # NumPy offers no other way in
        mapping.madvise(mmap.MADV_DONTNEED)
        return copied
