"""Shared functions of the HDF5 formats. Nothing in a file is unpickled, and nothing outside it is read.

Data outside the file (external links, external storage, virtual datasets) are refused. The digest of a raw file must
cover its samples, and no read may leave the lake.
"""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from voltpipe.recordings.formats.raw_signal import raise_as_damaged
from voltpipe.recordings.recording import RecordingError

HDF5_ERRORS = (
    OSError,
    KeyError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
)
"""Errors that h5py raises for a file that is damaged or of an unexpected layout."""
_CHUNK_CACHE_BYTES = 64 << 20
_MAX_CHUNK_CACHE_BYTES = 512 << 20


def open_hdf5(path: Path, expected: str) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        RecordingError: the file is damaged, or still open for writing.
    """
    with raise_as_damaged(path, expected, *HDF5_ERRORS):
        try:
            return h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)
        except BlockingIOError:
            raise RecordingError(
                f"{path.name} is still being written. Stop the recording, then ingest it.", code="file-being-written"
            ) from None


def contains(path: Path, names: tuple[str, ...]) -> bool:
    """Return whether an HDF5 file has one of these objects in its root."""
    with open_hdf5(path, "HDF5") as file:
        return any(name in file for name in names)


def internal_dataset(path: Path, group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a dataset that is readable and stored in the file itself.

    Raises:
        RecordingError: it is stored in another file, or compressed with a filter that is not installed.
        KeyError: there is no dataset of this name.
    """
    dataset = group[name]
    if dataset.file.filename != group.file.filename or dataset.is_virtual or dataset.external:
        raise RecordingError(
            f"{path.name}: {group.name}/{name} is stored in another file. Export a file that holds it.",
            code="samples-outside-file",
        )
    layout = dataset.id.get_create_plist()
    for index in range(layout.get_nfilters()):
        code, _, _, description = layout.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            raise RecordingError(
                f"{path.name}: {group.name}/{name} is compressed with the HDF5 filter {code} ({text(description)}), "
                "which is not installed. Get the plugin from the rig's vendor, and set HDF5_PLUGIN_PATH to its folder.",
                code="compression-filter-missing",
            )
    return _reopen_with_cache(dataset) if _bytes_across_time(dataset) > _CHUNK_CACHE_BYTES else dataset


def _bytes_across_time(dataset: h5py.Dataset) -> int:
    """Return the size of all chunks that hold one sample of all channels.

    If the chunk cache is smaller, every read of a range of samples unpacks all of these chunks again.
    """
    if dataset.chunks is None:
        return 0
    time = int(np.argmax(dataset.shape))
    n_chunks: list[int] = [-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    chunk_bytes: int = math.prod(dataset.chunks) * dataset.dtype.itemsize
    return math.prod(n_chunks[:time] + n_chunks[time + 1 :]) * chunk_bytes


def _reopen_with_cache(dataset: h5py.Dataset) -> h5py.Dataset:
    """Reopen a dataset with a cache for all chunks that hold one sample of all channels."""
    file, name, needed = dataset.file, dataset.name.encode(), _bytes_across_time(dataset)
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    n_slots, _, preemption = access.get_chunk_cache()
    access.set_chunk_cache(n_slots, min(needed, _MAX_CHUNK_CACHE_BYTES), preemption)
    # All handles of a dataset share one cache, whose size is set by the first. So close that one.
    dataset.id.close()
    return h5py.Dataset(h5py.h5d.open(file.id, name, access))


def text(value: Any) -> str:
    """Return a string of an HDF5 file (bytes or text) as text, without surrounding whitespace."""
    decoded = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return decoded.strip()


def texts(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Return all strings of a dataset."""
    return tuple(map(text, dataset[:]))
