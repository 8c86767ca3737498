"""What the formats that are HDF5 share. Nothing in a file is unpickled, and nothing outside it is read.

Data outside the file (external links, external storage, virtual datasets) are refused: the digest of a raw file
must cover its samples, and nothing may reach out of the lake.
"""

from pathlib import Path
from typing import Any

import h5py

from voltpipe.recordings.formats.stored import damage_named
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


def opened(path: Path, expected: str) -> h5py.File:
    """Open an HDF5 file to read.

    Raises:
        RecordingError: it is damaged, or still open for writing.
    """
    with damage_named(path, expected, *DAMAGE):
        try:
            return h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)
        except BlockingIOError:
            raise RecordingError(f"{path.name} is still being written; stop the recording, then ingest it") from None


def holds(path: Path, names: tuple[str, ...]) -> bool:
    """Whether an HDF5 file has one of these objects at its root."""
    with opened(path, "HDF5") as file:
        return any(name in file for name in names)


def own_dataset(path: Path, group: h5py.Group, name: str) -> h5py.Dataset:
    """A dataset that can be read and whose content lies in the file itself.

    Raises:
        RecordingError: it lies elsewhere, or is compressed with a filter that is not installed.
        KeyError: there is none of this name.
    """
    dataset = group[name]
    if dataset.file.filename != group.file.filename or dataset.is_virtual or dataset.external:
        raise RecordingError(f"{path.name}: {group.name}/{name} lies in another file; export a file that holds it")
    layout = dataset.id.get_create_plist()
    for index in range(layout.get_nfilters()):
        code, _, _, described = layout.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            raise RecordingError(
                f"{path.name}: {group.name}/{name} is compressed with the HDF5 filter {code} ({text(described)}), "
                "which is not installed; get the plugin from the rig's vendor, and set HDF5_PLUGIN_PATH to its folder"
            )
    return dataset


def text(value: Any) -> str:
    """Bytes or text of an HDF5 file as text, without the blanks around it."""
    decoded = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return decoded.strip()


def texts(dataset: h5py.Dataset) -> tuple[str, ...]:
    """All texts of a dataset."""
    return tuple(map(text, dataset[:]))
