"""Forecasts of a whole recording at regular intervals, streamed to Parquet."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float32, Int
from numpy.lib.stride_tricks import sliding_window_view

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.forecasting.novelty import NoveltyAccumulator, NoveltySummary
from voltpipe.inference.compatibility import check_layout
from voltpipe.lake.files import atomic_write
from voltpipe.recordings.recording import Recording, sample_times_s

FAMILIARITY_KEY = b"voltpipe.familiarity"
"""Key of the file's metadata under which the novelty of the recording is stored, as JSON."""
_CHUNK_VALUES = 1 << 20
"""Number of voltages held in memory at once: windows times context times channels."""

SCHEMA = pa.schema(
    [
        pa.field(
            "time_s",
            pa.float64(),
            metadata={"description": "Time of the forecast voltage, from the start of the raw recording."},
        ),
        pa.field("channel", pa.dictionary(pa.int32(), pa.string())),
        pa.field(
            "horizon_ms",
            pa.float64(),
            metadata={"description": "Time from the last known sample to the forecast voltage."},
        ),
        pa.field("forecast_mv", pa.float32(), metadata={"description": "Expected voltage."}),
    ]
)
QUANTILES = {"q10_mv": 0.1, "q50_mv": 0.5, "q90_mv": 0.9}
"""Columns and levels of the quantiles, present if the forecaster has a predictive distribution."""
SPIKE_CHANCE = "spike_chance"
"""Column of the probability that the channel spikes up to `time_s`, present if spikes can be seen."""


@dataclass(frozen=True)
class ForecastFileSummary:
    """Summary of a file of forecasts."""

    rows: int
    notice: NoveltySummary | None
    """Novelty of the recording; None if the forecaster has no novelty detector."""


def forecast_recording(
    forecaster: Forecaster,
    recording: Recording,
    out: Path,
    *,
    every_ms: float,
    from_ms: float = 0.0,
    facts: Mapping[str, str] | None = None,
) -> ForecastFileSummary:
    """Forecast a recording at regular intervals, and write a row for each forecast time, horizon and channel.

    Histories never cross a gap. The targets of the last forecasts lie after the end of the recording.

    Args:
        forecaster: a trained forecaster.
        recording: a recording at the sampling rate of the training.
        out: a Parquet file, written atomically. It has the columns of `SCHEMA`, and `QUANTILES` and `SPIKE_CHANCE` if
            the forecaster provides them.
        every_ms: interval between forecasts, in ms.
        from_ms: time before which nothing is forecast, in ms from the start of the recording.
        facts: metadata of the output file, in addition to the forecaster's config.

    Returns:
        The number of rows, and the novelty of the recording, which is also stored in the file's metadata.

    Raises:
        ForecasterError: the recording has another rate or other channels, is too short, or contains NaN.
    """
    origins = _origins(forecaster, recording, every_ms, from_ms)
    names = pa.array(recording.channel_names)
    schema = _schema(forecaster, facts or {})
    rows, novelty = 0, NoveltyAccumulator(recording.channel_names)
    with atomic_write(out) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        samples_per_window = max(forecaster.config.context_samples, int(np.diff(origins, prepend=origins[0]).max()))
        for chunk in _chunks(origins, samples_per_window * len(names)):
            history_mv = _histories(forecaster, recording, chunk)
            forecast_mv = forecaster.predict_mv(history_mv)
            if forecaster.familiarity:
                novelty.add(forecaster.familiarity.judge(torch.from_numpy(np.ascontiguousarray(history_mv))))
            table = _table(forecaster, chunk, forecast_mv, names, recording)
            for name, values in _distribution_columns(forecaster, history_mv[:, -1], forecast_mv).items():
                table = table.append_column(name, pa.array(values.ravel()))
            table = table.cast(schema)
            writer.write_table(table)
            rows += table.num_rows
        notice = novelty.notice() if forecaster.familiarity else None
        if notice:
            writer.add_key_value_metadata({FAMILIARITY_KEY: json.dumps(notice.facts())})
    return ForecastFileSummary(rows, notice)


def _schema(forecaster: Forecaster, facts: Mapping[str, str]) -> pa.Schema:
    schema = SCHEMA
    if forecaster.distribution:
        for name, level in QUANTILES.items():
            metadata = {"description": f"Voltage that is not exceeded with a probability of {level:.0%}."}
            schema = schema.append(pa.field(name, pa.float32(), metadata=metadata))
        if forecaster.distribution.sees_spikes:
            metadata = {"description": "Probability that the channel spikes between the last known sample and time_s."}
            schema = schema.append(pa.field(SPIKE_CHANCE, pa.float32(), metadata=metadata))
    file_metadata = {"forecaster": forecaster.config.model_dump(mode="json"), **facts}
    return schema.with_metadata({"voltpipe": json.dumps(file_metadata)})


def _distribution_columns(
    forecaster: Forecaster,
    present_mv: Float32[np.ndarray, "chunk channel"],
    forecast_mv: Float32[np.ndarray, "chunk horizon channel"],
) -> dict[str, Float32[np.ndarray, "chunk horizon channel"]]:
    distribution = forecaster.distribution
    if distribution is None:
        return {}
    known = torch.from_numpy(np.ascontiguousarray(present_mv)), torch.from_numpy(forecast_mv)
    quantiles_mv = distribution.quantiles_mv(*known, list(QUANTILES.values())).numpy()
    columns = dict(zip(QUANTILES, quantiles_mv, strict=True))
    return columns | ({SPIKE_CHANCE: distribution.spike_chance(*known).numpy()} if distribution.sees_spikes else {})


def _origins(
    forecaster: Forecaster, recording: Recording, every_ms: float, from_ms: float
) -> Int[np.ndarray, " origin"]:
    """Return the last known sample of each forecast."""
    config = forecaster.config
    check_layout(forecaster, "The recording", rate_hz=recording.rate_hz, channel_names=recording.channel_names)
    step = max(1, round(every_ms * recording.rate_hz / 1000))
    bounds = pairwise([*recording.segment_starts, recording.n_samples])
    # Counted back from the end of each segment, so that the last forecast is made at the last sample.
    starts = [np.arange(stop - 1, start + config.context_samples - 2, -step)[::-1] for start, stop in bounds]
    origins: Int[np.ndarray, " origin"] = np.concatenate(starts)
    origins = origins[origins + 1 >= from_ms / 1000 * recording.rate_hz]
    if not len(origins):
        raise ForecasterError(
            f"The recording of {recording.n_samples} samples has no segment with the {config.context_samples} samples "
            f"of history that a forecast from {from_ms:g} ms on needs. Use a longer recording.",
            code="recording-too-short",
        )
    return origins


def _chunks(origins: Int[np.ndarray, " origin"], values: int) -> Iterator[Int[np.ndarray, " chunk"]]:
    size = max(1, _CHUNK_VALUES // values)
    for start in range(0, len(origins), size):
        yield origins[start : start + size]


def _histories(
    forecaster: Forecaster, recording: Recording, origins: Int[np.ndarray, " chunk"]
) -> Float32[np.ndarray, "chunk context channel"]:
    context = forecaster.config.context_samples
    first = int(origins[0]) - context + 1
    voltage_mv = recording.read_mv(first, int(origins[-1]) + 1)
    bad = np.argwhere(~np.isfinite(voltage_mv))
    if len(bad):
        sample, channel = bad[0]
        (time_s,) = sample_times_s(recording, np.array([first + sample]))
        raise ForecasterError(
            f"Channel {recording.channel_names[channel]} is NaN or infinite at {time_s:.4f} s. A forecast needs finite "
            "voltages. Cut the recording there.",
            code="samples-not-finite",
        )
    starts = origins - context + 1 - first
    windows: Float32[np.ndarray, "start channel context"] = sliding_window_view(voltage_mv, context, axis=0)[starts]
    return windows.transpose(0, 2, 1)


def _table(
    forecaster: Forecaster,
    origins: Int[np.ndarray, " chunk"],
    forecast_mv: Float32[np.ndarray, "chunk horizon channel"],
    names: pa.Array,
    recording: Recording,
) -> pa.Table:
    horizons = np.array(forecaster.horizons)
    shape = forecast_mv.shape
    times_s = sample_times_s(recording, origins)[:, None] + horizons / recording.rate_hz
    codes = np.broadcast_to(np.arange(shape[2], dtype=np.int32), shape).ravel()
    return pa.table(
        {
            "time_s": np.broadcast_to(times_s[..., None], shape).ravel(),
            "channel": pa.DictionaryArray.from_arrays(codes, names),
            "horizon_ms": np.broadcast_to((1000 * horizons / recording.rate_hz)[:, None], shape).ravel(),
            "forecast_mv": forecast_mv.ravel(),
        }
    )
