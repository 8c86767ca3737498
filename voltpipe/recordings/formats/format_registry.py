"""Which formats voltpipe reads. A new one: an opener in a file beside this, a line here, one in docs/formats.md."""

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
    """A file format; its module is imported when the first file of it is opened."""

    name: str
    module: str
    opener: str
    extensions: tuple[str, ...] = ()
    """Of files that can be opened, in lower case."""
    hdf5_root: tuple[str, ...] = ()
    """Of several formats with one extension: it is this one if the file's root has one of these."""
    folder_holds: tuple[str, ...] = ()
    """Patterns; a folder that holds such a file can be opened."""
    has_segments: bool = False
    """Whether a file may hold several recordings, one a segment."""

    @property
    def needs_folder(self) -> bool:
        """Whether it is several files, so that in the lake they need a folder of their own."""
        return bool(self.folder_holds)

    def open(self, path: Path, hints: Hints) -> RawSignal:
        """Read what a file of this format says; its samples stay where they are."""
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

EXTENSIONS = tuple(dict.fromkeys(extension for each in FORMATS for extension in each.extensions))


def recording_name(path: Path) -> str:
    """A file's name without its extension, a folder's whole name (but for `.zarr`)."""
    return path.stem if path.suffix.lower() in (*EXTENSIONS, ".zarr") else path.name


def raw_candidates(path: Path) -> tuple[Format, ...]:
    """The formats a file can be of by its extension, or a folder by what it holds; files are not looked into.

    Raises:
        RecordingError: there is none.
    """
    if path.is_dir():
        found = tuple(each for each in FORMATS if any(next(path.glob(p), None) for p in each.folder_holds))
        if not found:
            raise RecordingError(
                f"{path.name} is a folder of an unknown format. docs/formats.md lists the known ones.",
                code="format-unknown",
            )
        if len(found) > 1:
            raise RecordingError(
                f"{path.name} is a folder of {' and '.join(each.name for each in found)}. Expected one format. "
                "Make a folder for each recording.",
                code="format-ambiguous",
            )
        return found
    suffix = path.suffix.lower()
    found = tuple(each for each in FORMATS if suffix in each.extensions)
    if not found:
        raise RecordingError(
            f"{path.name}: extension {path.suffix!r} is not known. Known are {', '.join(EXTENSIONS)}, and folders of "
            f"{', '.join(each.name for each in FORMATS if each.folder_holds)}.",
            code="format-unknown",
        )
    return found


def detect_format(path: Path) -> Format:
    """The format of a file or folder, by its extension and, where that does not tell, by what it holds.

    Raises:
        RecordingError: it is of no known format.
    """
    found = raw_candidates(path)
    if len(found) == 1:
        return found[0]
    from voltpipe.recordings.formats.hdf5 import contains

    fitting = [each for each in found if contains(path, each.hdf5_root)]
    if len(fitting) != 1:
        raise RecordingError(
            f"{path.name} is HDF5 of an unknown layout. Expected {', '.join(e.name for e in found)}.",
            code="format-unknown",
        )
    return fitting[0]
