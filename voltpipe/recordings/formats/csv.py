"""Reader of CSV files with a header: one column per channel, and optionally one of time (`time_s` or `time_ms`)."""

import csv
from pathlib import Path

from voltpipe.recordings.formats.columns import read_header
from voltpipe.recordings.formats.raw_signal import RawSignal, raise_as_damaged
from voltpipe.recordings.formats.text import index_text_rows
from voltpipe.recordings.formats.timeline import Timing
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError

_DELIMITERS = (",", ";", "\t")


def open_csv(path: Path, hints: Hints) -> RawSignal:
    """Open a CSV file. The delimiter (comma, semicolon or tab) is taken from the header.

    Raises:
        RecordingError: the header is ambiguous, or a row does not match it.
    """
    with raise_as_damaged(path, "CSV", UnicodeDecodeError), path.open(encoding="utf-8-sig", newline="") as file:
        header_line = file.readline().rstrip("\r\n")
    delimiter = max(_DELIMITERS, key=header_line.count)
    header = next(csv.reader([header_line], delimiter=delimiter), [])
    columns = read_header(header)
    rows, timeline = index_text_rows(
        path,
        delimiter=delimiter,
        header_lines=1,
        time_column=columns.time_column,
        seconds_per_time_unit=columns.seconds_per_time_unit,
    )
    if rows.n_columns != len(header):
        raise RecordingError(
            f"{path.name} has {len(header)} names in its header, but {rows.n_columns} columns. Correct the header.",
            code="column-count-mismatch",
        )
    timing = Timing() if columns.time_column is None else timeline.finish()
    return RawSignal(
        read=lambda start, stop: rows.read(start, stop)[:, columns.voltage_columns],
        n_samples=rows.n_rows,
        n_channels=len(columns.voltage_columns),
        unit=columns.unit,
        channel_names=columns.channel_names,
        **timing._asdict(),
    )
