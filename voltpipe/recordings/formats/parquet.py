"""Reader of Parquet tables: a column per channel, optionally one of time, and `unit` and `rate_hz` in the metadata."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Num

from voltpipe.recordings.formats.columns import Columns, read_header
from voltpipe.recordings.formats.raw_signal import RawSignal, raise_as_damaged
from voltpipe.recordings.formats.timeline import Timing, read_timing
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.store.conditioned_writer import METADATA_KEY
from voltpipe.recordings.store.row_groups import PARQUET_ERRORS, ParquetRows


def open_parquet(path: Path, hints: Hints) -> RawSignal:
    """Open a Parquet table of voltages.

    Raises:
        RecordingError: the file is damaged, was written by voltpipe, or has ambiguous or non-numeric columns.
    """
    with raise_as_damaged(path, "Parquet", *PARQUET_ERRORS):
        table = ParquetRows(path)
    if METADATA_KEY in (table.footer.metadata or {}):
        raise RecordingError(
            f"{path.name} was written by voltpipe: a conditioned recording or forecasts, not raw voltages. "
            "Use the raw recording that it was made from.",
            code="written-by-voltpipe",
        )
    names = table.schema.names
    if len(set(names)) < len(names):
        raise RecordingError(
            f"{path.name} has columns with the same name: {', '.join(names)}. Rename them.",
            code="channel-names-not-unique",
        )
    for name in names:
        kind = table.schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise RecordingError(
                f"{path.name}: column {name!r} holds {kind}. Expected numbers.", code="samples-not-numeric"
            )
    columns = read_header(names)
    voltages = [names[i] for i in columns.voltage_columns]
    metadata = {key.decode(): value.decode(errors="replace") for key, value in (table.schema.metadata or {}).items()}
    timing = _timing(path, table, columns) or Timing(_rate_hz(path, metadata))

    def read(start_sample: int, stop_sample: int) -> Num[np.ndarray, "time channel"]:
        with raise_as_damaged(path, "Parquet", *PARQUET_ERRORS):
            return table.read(start_sample, stop_sample, voltages)

    return RawSignal(
        read=read,
        n_samples=table.n_rows,
        n_channels=len(voltages),
        unit=metadata.get("unit", columns.unit),
        channel_names=columns.channel_names,
        **timing._asdict(),
    )


def _rate_hz(path: Path, metadata: dict[str, str]) -> float | None:
    if "rate_hz" not in metadata:
        return None
    try:
        return float(metadata["rate_hz"])
    except ValueError:
        raise RecordingError(
            f"{path.name}: rate_hz in the metadata is {metadata['rate_hz']!r}. Expected a number. Correct it.",
            code="rate-impossible",
        ) from None


def _timing(path: Path, table: ParquetRows, columns: Columns) -> Timing | None:
    if columns.time_column is None:
        return None
    name = table.schema.names[columns.time_column]

    def read_times_s(start_sample: int, stop_sample: int) -> Float64[np.ndarray, " time"]:
        with raise_as_damaged(path, "Parquet", *PARQUET_ERRORS):
            times = table.read(start_sample, stop_sample, [name])[:, 0]
        return times.astype(np.float64) * columns.seconds_per_time_unit

    return read_timing(read_times_s, table.n_rows)
