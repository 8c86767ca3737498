"""Which formats voltpipe reads. A new one is a file beside this with an opener, and a line here."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from voltpipe.recordings.formats.stored import Stored
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError

Opener = Callable[[Path, Hints], Stored]


@dataclass(frozen=True)
class Format:
    """A file format; its module is imported when the first file of it is opened."""

    name: str
    module: str
    opener: str

    def open(self, path: Path, hints: Hints) -> Stored:
        """Read what a file of this format says; its samples stay where they are."""
        opener = cast(Opener, getattr(import_module(f"voltpipe.recordings.formats.{self.module}"), self.opener))
        return opener(path, hints)


FORMATS = {
    ".nwb": Format("NWB", "nwb", "open_nwb"),
    ".dat": Format("text", "text", "open_text"),
    ".csv": Format("CSV", "csv", "open_csv"),
    ".npy": Format("NPY", "numpy", "open_npy"),
    ".npz": Format("NPZ", "numpy", "open_npz"),
    ".parquet": Format("Parquet", "parquet", "open_parquet"),
}
"""By the file's extension, in lower case."""


def format_of(path: Path) -> Format:
    """The format of a file, by its extension.

    Raises:
        RecordingError: no format has this extension.
    """
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise RecordingError(f"{path.name}: extension {path.suffix!r} is not known; known are {', '.join(FORMATS)}")
    return found
