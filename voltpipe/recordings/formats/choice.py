"""A file that holds several series or segments: which one is read, or the question that has to be answered."""

from collections.abc import Sequence
from pathlib import Path

from voltpipe.recordings.recording import RecordingError


class SegmentsError(RecordingError):
    """The file holds several segments, each a recording of its own, and none was chosen."""

    def __init__(self, path: Path, n_segments: int) -> None:
        super().__init__(
            f"{path.name} holds {n_segments} segments (0 to {n_segments - 1}), each a recording of its own; "
            "choose one with the hint `segment`"
        )
        self.n_segments = n_segments


def chosen_segment(path: Path, n_segments: int, wanted: int | None) -> int:
    """The segment to read: the wanted one, or the only one.

    Raises:
        SegmentsError: there are several, and none is wanted.
        RecordingError: there is none, or not that one.
    """
    if wanted is None and n_segments > 1:
        raise SegmentsError(path, n_segments)
    index = wanted or 0
    if index >= n_segments:
        raise RecordingError(f"{path.name} has no segment {index}; it holds {n_segments} of them, counted from 0")
    return index


def chosen_series(path: Path, voltages: Sequence[str], others: Sequence[str], wanted: str | None) -> str:
    """The series to read: the wanted one, by its whole name or the last parts of it, or the only one of voltages.

    Args:
        path: the file.
        voltages: names of the series that hold voltages of tissue.
        others: names of those that are read only if they are wanted.
        wanted: the hint `series`.

    Raises:
        RecordingError: there are several and none is wanted, or not the one that is.
    """
    names = voltages if wanted is None else [*voltages, *others]
    matching = [name for name in names if wanted is None or f"/{name}".endswith(f"/{wanted.strip('/')}")]
    if len(matching) == 1:
        return matching[0]
    there = ", ".join(matching or voltages or others) or "none at all"
    missing = "no series of voltages" if wanted is None else f"no series {wanted!r}"
    found = f"several series ({there})" if matching else f"{missing}; it has: {there}"
    raise RecordingError(f"{path.name} holds {found}; choose one with the hint `series`")
