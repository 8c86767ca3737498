"""What the formats that are HDF5 share. Nothing in a file is unpickled, and nothing outside it is read.

Data outside the file (external links, external storage, virtual datasets) are refused: the digest of a raw file
must cover its samples, and nothing may reach out of the lake.
"""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from voltpipe.recordings.formats.raw_signal import raise_as_damaged
from voltpipe.recordings.recording import RecordingError

DAMAGE = (
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
"""What h5py raises on a damaged file, or on one of another layout than expected."""
_CHUNK_CACHE_BYTES = 64 << 20
_MOST_CHUNK_CACHE_BYTES = 512 << 20


def open_hdf5(path: Path, expected: str) -> h5py.File:
    """Open an HDF5 file to read.

    Raises:
        RecordingError: it is damaged, or still open for writing.
    """
    with raise_as_damaged(path, expected, *DAMAGE):
        try:
            return h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)
        except BlockingIOError:
            raise RecordingError(
                f"{path.name} is still being written. Stop the recording, then ingest it.", code="file-being-written"
            ) from None


def contains(path: Path, names: tuple[str, ...]) -> bool:
    """Whether an HDF5 file has one of these objects at its root."""
    with open_hdf5(path, "HDF5") as file:
        return any(name in file for name in names)


def internal_dataset(path: Path, group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset that can be read and whose content lies in the file itself.

    Raises:
        RecordingError: it lies elsewhere, or is compressed with a filter that is not installed.
        KeyError: there is none of this name.
    """
    dataset = group[name]
    if dataset.file.filename != group.file.filename or dataset.is_virtual or dataset.external:
        raise RecordingError(
            f"{path.name}: {group.name}/{name} is stored in another file. Export a file that holds it.",
            code="samples-outside-file",
        )
    layout = dataset.id.get_create_plist()
    for index in range(layout.get_nfilters()):
        code, _, _, described = layout.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            raise RecordingError(
                f"{path.name}: {group.name}/{name} is compressed with the HDF5 filter {code} ({text(described)}), "
                "which is not installed. Get the plugin from the rig's vendor, and set HDF5_PLUGIN_PATH to its folder.",
                code="compression-filter-missing",
            )
    return _reopened(dataset) if _bytes_across_time(dataset) > _CHUNK_CACHE_BYTES else dataset


def _bytes_across_time(dataset: h5py.Dataset) -> int:
    """Size of all chunks that hold one moment. Without room for them, each is unpacked anew for every piece of time."""
    if dataset.chunks is None:
        return 0
    time = int(np.argmax(dataset.shape))
    across: list[int] = [-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
    chunk_bytes: int = math.prod(dataset.chunks) * dataset.dtype.itemsize
    return math.prod(across[:time] + across[time + 1 :]) * chunk_bytes


def _reopened(dataset: h5py.Dataset) -> h5py.Dataset:
    """The same dataset with room for the chunks of one moment."""
    file, name, needed = dataset.file, dataset.name.encode(), _bytes_across_time(dataset)
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    n_slots, _, preemption = access.get_chunk_cache()
    access.set_chunk_cache(n_slots, min(needed, _MOST_CHUNK_CACHE_BYTES), preemption)
    # HDF5 shares the room among all that have the dataset open, and the first decides.
    dataset.id.close()
    return h5py.Dataset(h5py.h5d.open(file.id, name, access))


def text(value: Any) -> str:
    """Bytes or text of an HDF5 file as text, without the blanks around it."""
    decoded = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return decoded.strip()


def texts(dataset: h5py.Dataset) -> tuple[str, ...]:
    """All texts of a dataset."""
    return tuple(map(text, dataset[:]))
