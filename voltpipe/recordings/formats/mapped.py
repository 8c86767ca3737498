"""Samples that a file holds as they lie in memory."""

import mmap

import numpy as np
from jaxtyping import Num


class Mapped:
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
