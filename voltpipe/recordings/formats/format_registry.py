"""The registry of file formats.

To add a format, write an opener in a new module of this package, and add a line here and one in docs/formats.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from voltpipe.recordings.formats.raw_signal import RawSignal
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError

Opener = Callable[[Path, Hints], RawSignal]


@dataclass(frozen=True)
class Format:
    """A file format. Its module is imported when a file of this format is first opened."""

    name: str
    module: str
    opener: str
    extensions: tuple[str, ...] = ()
    """File extensions of this format, in lower case."""
    hdf5_root: tuple[str, ...] = ()
    """Objects in the root of an HDF5 file, one of which identifies this format among those with the same extension."""
    folder_holds: tuple[str, ...] = ()
    """Glob patterns. A folder with a matching file is a recording of this format."""
    has_segments: bool = False
    """Whether a file may hold several segments, each a recording of its own."""

    @property
    def needs_folder(self) -> bool:
        """Return whether a recording consists of several files, which need a folder of their own in the lake."""
        return bool(self.folder_holds)

    def open(self, path: Path, hints: Hints) -> RawSignal:
        """Open a file of this format lazily: read its metadata, but no samples.

        Raises:
            RecordingError: the file is damaged, ambiguous or of another format.
        """
        opener = cast(Opener, getattr(import_module(f"voltpipe.recordings.formats.{self.module}"), self.opener))
        return opener(path, hints)


_HDF5 = (".h5", ".hdf5")

FORMATS = (
    Format("NWB", "nwb", "open_nwb", (".nwb",)),
    Format("text", "text", "open_text", (".dat",)),
    Format("CSV", "csv", "open_csv", (".csv",)),
    Format("NPY", "numpy", "open_npy", (".npy",)),
    Format("NPZ", "numpy", "open_npz", (".npz",)),
    Format("Parquet", "parquet", "open_parquet", (".parquet",)),
    Format("MaxWell", "maxwell", "open_maxwell", _HDF5, hdf5_root=("wells", "sig")),
    Format("Multi Channel Systems", "mcs", "open_mcs", _HDF5, hdf5_root=("Data",), has_segments=True),
    Format("CL1", "cl1", "open_cl1", _HDF5, hdf5_root=("samples",)),
    Format("Multi Channel Systems raw", "neo_formats", "open_mcs_raw", (".raw",)),
    Format("Intan", "neo_formats", "open_intan", (".rhd", ".rhs")),
    Format("Intan folder", "neo_formats", "open_intan", folder_holds=("info.rhd", "info.rhs")),
    Format("Axon", "neo_formats", "open_axon", (".abf",), has_segments=True),
    Format("BrainVision", "neo_formats", "open_brainvision", (".vhdr",), folder_holds=("*.vhdr",)),
    Format(
        "Blackrock",
        "neo_formats",
        "open_blackrock",
        tuple(f".ns{number}" for number in range(1, 7)),
        folder_holds=("*.ns[1-6]",),
        has_segments=True,
    ),
    Format("Neuralynx", "neo_formats", "open_neuralynx", folder_holds=("*.ncs",), has_segments=True),
    Format(
        "Open Ephys",
        "neo_formats",
        "open_open_ephys",
        folder_holds=("structure.oebin", "*/structure.oebin", "*/*/structure.oebin", "*/*/*/structure.oebin"),
        has_segments=True,
    ),
    Format("SpikeGLX", "neo_formats", "open_spikeglx", folder_holds=("*.meta", "*/*.meta"), has_segments=True),
    Format(
        "spikeinterface binary",
        "spikeinterface",
        "open_binary_folder",
        folder_holds=("binary.json",),
        has_segments=True,
    ),
    Format("spikeinterface Zarr", "spikeinterface", "open_zarr_folder", folder_holds=(".zgroup",), has_segments=True),
)

EXTENSIONS = tuple(dict.fromkeys(extension for known in FORMATS for extension in known.extensions))


def recording_name(path: Path) -> str:
    """Return a file's name without its extension, or a folder's full name (without `.zarr`)."""
    return path.stem if path.suffix.lower() in (*EXTENSIONS, ".zarr") else path.name


def raw_candidates(path: Path) -> tuple[Format, ...]:
    """List the formats that match the extension of a file or the content of a folder. Files are not opened.

    Raises:
        RecordingError: no format matches, or a folder matches several.
    """
    if path.is_dir():
        found = tuple(known for known in FORMATS if any(next(path.glob(p), None) for p in known.folder_holds))
        if not found:
            raise RecordingError(
                f"{path.name} is a folder of an unknown format. docs/formats.md lists the known formats.",
                code="format-unknown",
            )
        if len(found) > 1:
            raise RecordingError(
                f"{path.name} is a folder of {' and '.join(match.name for match in found)}. Expected one format. "
                "Make a folder for each recording.",
                code="format-ambiguous",
            )
        return found
    suffix = path.suffix.lower()
    found = tuple(known for known in FORMATS if suffix in known.extensions)
    if not found:
        raise RecordingError(
            f"{path.name}: extension {path.suffix!r} is unknown. Known are {', '.join(EXTENSIONS)}, and folders of "
            f"{', '.join(known.name for known in FORMATS if known.folder_holds)}.",
            code="format-unknown",
        )
    return found


def detect_format(path: Path) -> Format:
    """Return the format of a file or folder, by its extension and, if needed, its content.

    Raises:
        RecordingError: the format is unknown.
    """
    candidates = raw_candidates(path)
    if len(candidates) == 1:
        return candidates[0]
    from voltpipe.recordings.formats.hdf5 import contains

    matching = [candidate for candidate in candidates if contains(path, candidate.hdf5_root)]
    if len(matching) != 1:
        raise RecordingError(
            f"{path.name} is HDF5 of an unknown layout. Expected {', '.join(c.name for c in candidates)}.",
            code="format-unknown",
        )
    return matching[0]
