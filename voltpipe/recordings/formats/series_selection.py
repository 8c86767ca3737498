"""Selection of a series or segment in a file that holds several."""

from collections.abc import Sequence
from pathlib import Path

from voltpipe.recordings.recording import RecordingError


class AmbiguousSegmentError(RecordingError):
    """A file with several segments, each a recording of its own, of which none was chosen."""

    def __init__(self, path: Path, n_segments: int) -> None:
        super().__init__(
            f"{path.name} holds {n_segments} segments (0 to {n_segments - 1}), each a recording of its own. "
            "Choose one with the hint `segment`.",
            code="segment-not-chosen",
        )
        self.n_segments = n_segments


def select_segment(path: Path, n_segments: int, requested: int | None) -> int:
    """Return the index of the requested segment, or of the only one.

    Raises:
        AmbiguousSegmentError: there are several segments, and none is requested.
        RecordingError: there is no segment, or not the requested one.
    """
    if requested is None and n_segments > 1:
        raise AmbiguousSegmentError(path, n_segments)
    index = requested or 0
    if index >= n_segments:
        raise RecordingError(
            f"{path.name} has no segment {index}. It holds {n_segments} segments, counted from 0.",
            code="segment-unknown",
        )
    return index


def select_series(path: Path, voltages: Sequence[str], others: Sequence[str], requested: str | None) -> str:
    """Return the name of the requested series, or of the only series of voltages.

    Args:
        path: the file.
        voltages: names of the series with voltages of tissue.
        others: names of the series that are read only if requested.
        requested: the hint `series`: a full name, or the last parts of one.

    Raises:
        RecordingError: there are several series and none is requested, or the requested one does not exist.
    """
    names = voltages if requested is None else [*voltages, *others]
    matching = [name for name in names if requested is None or f"/{name}".endswith(f"/{requested.strip('/')}")]
    if len(matching) == 1:
        return matching[0]
    available = ", ".join(matching or voltages or others) or "none"
    remedy = "Choose one with the hint `series`."
    if matching:
        raise RecordingError(f"{path.name} holds several series ({available}). {remedy}", code="series-not-chosen")
    if requested is None:
        raise RecordingError(
            f"{path.name} has no series of voltages. It has: {available}. {remedy}", code="voltage-series-missing"
        )
    raise RecordingError(
        f"{path.name} has no series {requested!r}. It has: {available}. {remedy}", code="series-unknown"
    )
