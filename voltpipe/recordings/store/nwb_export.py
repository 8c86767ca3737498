"""Export of a conditioned recording and its forecasts as NWB.

The voltage is in the processing module `conditioned`, in mV (restored, not z-scored). The forecasts of each horizon are
in the module `forecast`. Times count from the beginning of the raw recording, without the time of its gaps.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from hdmf.backends.hdf5.h5_utils import H5DataIO
from hdmf.common import DynamicTable, VectorData
from hdmf.data_utils import GenericDataChunkIterator
from jaxtyping import Float32, Float64
from pynwb import NWBHDF5IO, NWBFile, ProcessingModule, TimeSeries
from pynwb.file import Subject

from voltpipe.lake.files import atomic_write
from voltpipe.recordings.recording import CHUNK_VALUES, FILTERED_FACT, RecordingError, sample_times_s
from voltpipe.recordings.settings import Profile
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording
from voltpipe.recordings.store.row_groups import PARQUET_ERRORS

_MILLIVOLTS = {"unit": "volts", "conversion": 1e-3}
_HDF5_CHUNK_VALUES = 1 << 18
_FORECAST_COLUMNS = ("time_s", "channel", "horizon_ms", "forecast_mv")


def export_nwb(
    recording: ConditionedRecording,
    out: Path,
    *,
    session_start: datetime,
    species: str,
    age: str,
    forecast: Path | None = None,
) -> None:
    """Write a conditioned recording atomically to `out`, one chunk at a time.

    Args:
        recording: the recording to write.
        out: the NWB file.
        session_start: start of the raw recording; UTC if it has no time zone.
        species: Latin name of the species of the cells, e.g. Homo sapiens. The NWB inspector requires it.
        age: age of the organoid as an ISO 8601 duration, e.g. P90D. The NWB inspector requires it.
        forecast: forecasts of the recording, a Parquet file from `voltpipe forecast`. One horizon at a time is read
            into memory.

    Raises:
        RecordingError: the name does not end in .nwb, or `forecast` is damaged or does not match the channels.
    """
    if out.suffix != ".nwb":
        raise RecordingError(f"{out.name} does not end in .nwb. Rename the output.", code="export-name-not-nwb")
    file = NWBFile(
        session_description=f"Recording {recording.recording} of {recording.organoid}, conditioned by voltpipe",
        identifier=recording.digest,
        session_start_time=session_start if session_start.tzinfo else session_start.replace(tzinfo=UTC),
        session_id=recording.recording,
        subject=Subject(
            subject_id=recording.organoid,
            species=species,
            age=age,
            sex="U",
            description="The recorded organoid.",
        ),
        notes=_notes(recording),
    )
    file.add_processing_module(_conditioned_module(recording))
    if forecast is not None:
        file.add_processing_module(_forecast_module(recording, forecast))
    # pynwb warns about names without .nwb, but not about an open file.
    with atomic_write(out) as partial, h5py.File(partial, "w") as hdf5, NWBHDF5IO(file=hdf5, mode="w") as io:
        io.write(file)


def _notes(recording: ConditionedRecording) -> str:
    channel_fields = {"mean_mv", "sd_mv", "channel_names", "channel_types", "positions_um"}
    notes = recording.metadata.model_dump(mode="json", exclude=channel_fields)
    profile = recording.metadata.settings.profile
    if profile is not Profile.MEMBRANE:
        notes[FILTERED_FACT] = profile.value
    return json.dumps(notes)


def _conditioned_module(recording: ConditionedRecording) -> ProcessingModule:
    description = "Voltage for the training of forecasters, and how it was conditioned."
    module = ProcessingModule(name="conditioned", description=description)
    steps = "; ".join(recording.metadata.steps) or "as recorded"
    module.add(
        TimeSeries(
            name="voltage",
            data=H5DataIO(_VoltageChunks(recording), compression="gzip", compression_opts=1),
            description=f"Voltage of each channel: {steps}.",
            comments=f"First sample: {recording.first_sample} of the raw recording, {recording.source_digest}.",
            **_MILLIVOLTS,
            **_timing(sample_times_s(recording, np.arange(recording.n_samples)), recording.rate_hz),
        )
    )
    columns = (
        ("channel_name", "Name of the channel in the raw recording.", list(recording.channel_names)),
        ("channel_type", "Type of the channel.", list(recording.channel_types)),
        ("mean_mv", "Mean over the calibration span, in mV.", recording.mean_mv),
        ("sd_mv", "Standard deviation over the calibration span, in mV.", recording.sd_mv),
        *_positions(recording),
    )
    channels = DynamicTable(
        name="channels",
        description="One row per channel, in the order of the columns of the data.",
        columns=[VectorData(name=name, description=meaning, data=data) for name, meaning, data in columns],
    )
    module.add(channels)
    return module


def _positions(recording: ConditionedRecording) -> Iterator[tuple[str, str, Float64[np.ndarray, " channel"]]]:
    if recording.positions_um is not None:
        for axis, position_um in zip("xyz", recording.positions_um.T, strict=False):
            yield f"{axis}_um", f"Position of the electrode along {axis}, in um.", position_um


class _VoltageChunks(GenericDataChunkIterator):  # type: ignore[misc]  # hdmf has no types
    """Iterator over a recording's voltage in mV for the HDF5 writer, chunk by chunk."""

    def __init__(self, recording: ConditionedRecording) -> None:
        self._recording = recording
        n_channels = len(recording.channel_names)
        n_samples = recording.n_samples
        rows = min(n_samples, max(1, _HDF5_CHUNK_VALUES // n_channels))
        buffer_rows = min(n_samples, rows * max(1, CHUNK_VALUES // (rows * n_channels)))
        super().__init__(buffer_shape=(buffer_rows, n_channels), chunk_shape=(rows, n_channels))

    def _get_data(self, selection: tuple[slice, ...]) -> Float32[np.ndarray, "time channel"]:
        return self._recording.read_mv(selection[0].start, selection[0].stop)[:, selection[1]]

    def _get_maxshape(self) -> tuple[int, int]:
        return self._recording.n_samples, len(self._recording.channel_names)

    def _get_dtype(self) -> np.dtype:
        return np.dtype(np.float32)


def _timing(times_s: Float64[np.ndarray, " time"], rate_hz: float | None = None) -> dict[str, Any]:
    """Return start and rate if the times are regular, or else the times themselves."""
    steps_s = np.diff(times_s)
    period_s = 1 / rate_hz if rate_hz else float(np.median(steps_s)) if len(steps_s) else 1.0
    if np.allclose(steps_s, period_s, rtol=1e-6, atol=1e-9):
        return {"starting_time": float(times_s[0]), "rate": rate_hz or 1 / period_s}
    return {"timestamps": times_s}


def _forecast_module(recording: ConditionedRecording, path: Path) -> ProcessingModule:
    try:
        schema = pq.read_schema(path)
        missing = [name for name in _FORECAST_COLUMNS if name not in schema.names]
        if missing:
            raise RecordingError(
                f"{path.name} has no column {', '.join(missing)}. Expected a file written by `voltpipe forecast`.",
                code="forecast-columns-missing",
            )
        horizons_ms = pc.unique(pq.read_table(path, columns=["horizon_ms"])["horizon_ms"]).to_pylist()
        made_by = (schema.metadata or {}).get(b"voltpipe", b"{}").decode()
        module = ProcessingModule(
            name="forecast", description=f"Forecasts by voltpipe, one series per horizon: {made_by}"
        )
        for horizon_ms in sorted(horizons_ms):
            module.add(_forecast_series(recording, path, horizon_ms))
    except PARQUET_ERRORS as error:
        raise RecordingError(
            f"{path.name} is damaged or not a Parquet file: {' '.join(str(error).split())}. Forecast again.",
            code="file-damaged",
        ) from error
    return module


def _forecast_series(recording: ConditionedRecording, path: Path, horizon_ms: float) -> TimeSeries:
    frame = pq.read_table(path, columns=list(_FORECAST_COLUMNS), filters=[("horizon_ms", "=", horizon_ms)]).to_pandas()
    forecast_mv = frame.pivot(index="time_s", columns="channel", values="forecast_mv")
    if set(forecast_mv.columns) != set(recording.channel_names):
        raise RecordingError(
            f"{path.name} forecasts {len(forecast_mv.columns)} channels that differ from the "
            f"{len(recording.channel_names)} of {recording.organoid}--{recording.recording}. "
            "Forecast the recording that is exported.",
            code="forecast-channels-differ",
        )
    values = forecast_mv[list(recording.channel_names)].to_numpy(np.float32)
    return TimeSeries(
        name=f"forecast_{f'{horizon_ms:g}'.replace('.', '_')}_ms",
        data=H5DataIO(values, compression="gzip", compression_opts=1),
        description=f"Voltage forecast {horizon_ms:g} ms ahead, at the forecast times.",
        **_MILLIVOLTS,
        **_timing(forecast_mv.index.to_numpy(np.float64)),
    )
