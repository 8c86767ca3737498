"""Parquet: one column a channel, perhaps one of time; `unit` and `rate_hz` in the schema's metadata."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Num

from voltpipe.recordings.formats.columns import Columns, read_header
from voltpipe.recordings.formats.raw_signal import RawSignal, raise_as_damaged
from voltpipe.recordings.formats.timeline import Timeline, Timing
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError, chunk_samples
from voltpipe.recordings.store.conditioned_writer import METADATA_KEY
from voltpipe.recordings.store.row_groups import DAMAGE, ParquetRows


def open_parquet(path: Path, hints: Hints) -> RawSignal:
    """Open a Parquet table of voltages."""
    with raise_as_damaged(path, "Parquet", *DAMAGE):
        table = ParquetRows(path)
    if METADATA_KEY in (table.footer.metadata or {}):
        raise RecordingError(
            f"{path.name} was written by voltpipe: a conditioned recording or forecasts, not raw voltages. "
            "Use the raw recording that it comes from.",
            code="written-by-voltpipe",
        )
    names = table.schema.names
    if len(set(names)) < len(names):
        raise RecordingError(
            f"{path.name} has columns of the same name: {', '.join(names)}. Rename them.",
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
    said = {key.decode(): value.decode(errors="replace") for key, value in (table.schema.metadata or {}).items()}
    timing = _timeline(path, table, columns) or Timing(_stated_rate(path, said))

    def read(start_sample: int, stop_sample: int) -> Num[np.ndarray, "time channel"]:
        with raise_as_damaged(path, "Parquet", *DAMAGE):
            return table.read(start_sample, stop_sample, voltages)

    return RawSignal(
        read=read,
        n_samples=table.n_rows,
        n_channels=len(voltages),
        unit=said.get("unit", columns.unit),
        channel_names=columns.channel_names,
        **timing._asdict(),
    )


def _stated_rate(path: Path, said: dict[str, str]) -> float | None:
    if "rate_hz" not in said:
        return None
    try:
        return float(said["rate_hz"])
    except ValueError:
        raise RecordingError(
            f"{path.name}: the metadata's rate_hz is {said['rate_hz']!r}, not a number. Correct it.",
            code="rate-impossible",
        ) from None


def _timeline(path: Path, table: ParquetRows, columns: Columns) -> Timing | None:
    if columns.time_column is None:
        return None
    timeline, name = Timeline(), table.schema.names[columns.time_column]
    step = chunk_samples(1)
    with raise_as_damaged(path, "Parquet", *DAMAGE):
        for start in range(0, table.n_rows, step):
            times = table.read(start, min(start + step, table.n_rows), [name])[:, 0]
            timeline.add(times.astype(np.float64) * columns.seconds_per_time_unit)
    return timeline.finish()
