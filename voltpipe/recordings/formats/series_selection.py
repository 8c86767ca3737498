"""A file that holds several series or segments: which one is read, or the question that has to be answered."""

from collections.abc import Sequence
from pathlib import Path

from voltpipe.recordings.recording import RecordingError


class AmbiguousSegmentError(RecordingError):
    """The file holds several segments, each a recording of its own, and none was chosen."""

    def __init__(self, path: Path, n_segments: int) -> None:
        super().__init__(
            f"{path.name} holds {n_segments} segments (0 to {n_segments - 1}), each a recording of its own. "
            "Choose one with the hint `segment`.",
            code="segment-not-chosen",
        )
        self.n_segments = n_segments


def select_segment(path: Path, n_segments: int, wanted: int | None) -> int:
    """The segment to read: the wanted one, or the only one.

    Raises:
        SegmentsError: there are several, and none is wanted.
        RecordingError: there is none, or not that one.
    """
    if wanted is None and n_segments > 1:
        raise AmbiguousSegmentError(path, n_segments)
    index = wanted or 0
    if index >= n_segments:
        raise RecordingError(
            f"{path.name} has no segment {index}. It holds {n_segments} segments, counted from 0.",
            code="segment-unknown",
        )
    return index


def select_series(path: Path, voltages: Sequence[str], others: Sequence[str], wanted: str | None) -> str:
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
    there = ", ".join(matching or voltages or others) or "none"
    remedy = "Choose one with the hint `series`."
    if matching:
        raise RecordingError(f"{path.name} holds several series ({there}). {remedy}", code="series-not-chosen")
    if wanted is None:
        raise RecordingError(
            f"{path.name} holds no series of voltages. It has: {there}. {remedy}", code="voltage-series-missing"
        )
    raise RecordingError(f"{path.name} holds no series {wanted!r}. It has: {there}. {remedy}", code="series-unknown")
