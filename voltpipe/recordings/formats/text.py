"""Reader of the published text format `run_K_voltages.dat`, and lazily read text files of numbers.

The published format has no header. Columns are separated by whitespace: time in ms, then one column per neuron in mV.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from voltpipe.recordings.formats.raw_signal import RawSignal
from voltpipe.recordings.formats.timeline import Timeline
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError


def open_text(path: Path, hints: Hints) -> RawSignal:
    """Open a file in the published text format. Channels are named `neuron_0`, `neuron_1`, ...

    Raises:
        RecordingError: a row is irregular or not numeric, or the file was cut off.
    """
    rows, timeline = index_text_rows(path, delimiter=None, header_lines=0, time_column=0, seconds_per_time_unit=1e-3)
    if rows.n_columns < 2:
        raise RecordingError(
            f"{path.name} has one column. Expected time in ms, then one column per neuron.",
            code="voltage-column-missing",
        )
    timing = timeline.finish()
    return RawSignal(
        read=lambda start, stop: rows.read(start, stop)[:, 1:],
        n_samples=rows.n_rows,
        n_channels=rows.n_columns - 1,
        unit="mV",
        channel_names=tuple(f"neuron_{i}" for i in range(rows.n_columns - 1)),
        **timing._asdict(),
    )


_ROWS_PER_OFFSET = 1000
_MAX_LINE_BYTES = 1 << 22


@dataclass(frozen=True)
class TextRows:
    """The rows of a text file of numbers, read lazily by an index of byte offsets."""

    path: Path
    delimiter: str | None
    """None for whitespace."""
    header_lines: int
    n_columns: int
    n_rows: int
    offsets: tuple[int, ...]

    def read(self, start_row: int, stop_row: int) -> Float64[np.ndarray, "row column"]:
        """Read the rows of a half-open range.

        Raises:
            RecordingError: a field is not a number. The error names its line.
        """
        if start_row == stop_row:
            return np.empty((0, self.n_columns))
        block = start_row // _ROWS_PER_OFFSET
        with self.path.open("rb") as file:
            file.seek(self.offsets[block])
            n_skipped = start_row - block * _ROWS_PER_OFFSET
            lines = [line.decode("latin-1") for line in islice(file, n_skipped, n_skipped + stop_row - start_row)]
        try:
            return np.loadtxt(lines, delimiter=self.delimiter, comments=None, ndmin=2)
        except ValueError:
            raise self._first_error(lines, start_row) from None

    def _first_error(self, lines: list[str], start_row: int) -> RecordingError:
        for row, line in enumerate(lines, start_row):
            for field in line.split(self.delimiter):
                _number(field.encode("latin-1"), self.path, self.header_lines + row + 1)
        return RecordingError(
            f"{self.path.name} changed while it was read. Copy it again.", code="file-changed-while-read"
        )


def index_text_rows(
    path: Path, *, delimiter: str | None, header_lines: int, time_column: int | None, seconds_per_time_unit: float
) -> tuple[TextRows, Timeline]:
    """Read a file once to check that all rows have the same columns, index byte offsets and collect time stamps.

    Raises:
        RecordingError: there are no rows, a row has a different number of columns, times are irregular, or the file was
            cut off.
    """
    separator = None if delimiter is None else delimiter.encode()
    timeline, offsets, n_columns, n_rows = Timeline(), [], 0, 0
    times: list[float] = []
    for n_rows, (offset, line) in enumerate(_rows(path, header_lines), 1):
        fields = line.split(separator)
        n_columns = n_columns or len(fields)
        if len(fields) != n_columns or not line.strip():
            n_fields = len(fields) if line.strip() else 0
            raise RecordingError(
                f"{path.name} line {header_lines + n_rows} has {n_fields} columns, but the rows before it have "
                f"{n_columns}. Correct the line.",
                code="column-count-mismatch",
            )
        if n_rows % _ROWS_PER_OFFSET == 1:
            offsets.append(offset)
            timeline.add(np.array(times, dtype=np.float64) * seconds_per_time_unit)
            times.clear()
        if time_column is not None:
            times.append(_number(fields[time_column], path, header_lines + n_rows))
    if not n_rows:
        raise RecordingError(f"{path.name} has no rows of numbers. Export it again.", code="rows-missing")
    timeline.add(np.array(times, dtype=np.float64) * seconds_per_time_unit)
    return TextRows(path, delimiter, header_lines, n_columns, n_rows, tuple(offsets)), timeline


def _rows(path: Path, header_lines: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    with path.open("rb") as file:
        for number in range(1, 1 << 62):
            line = file.readline(_MAX_LINE_BYTES)
            if not line:
                return
            if not line.endswith(b"\n"):
                raise RecordingError(
                    f"{path.name} line {number} has no line end: the file was cut off or is not text. "
                    "Copy it again, or add the line end if the file is complete.",
                    code="file-cut-off",
                )
            if number > header_lines:
                yield offset, line
            offset += len(line)


def _number(field: bytes, path: Path, line_number: int) -> float:
    try:
        return float(field)
    except ValueError:
        found = field.strip()[:40].decode("latin-1")
        raise RecordingError(
            f"{path.name} line {line_number}: {found!r} is not a number. Correct it.", code="value-not-a-number"
        ) from None
