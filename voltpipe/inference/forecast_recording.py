"""Forecasts along a whole recording, streamed to Parquet."""

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
"""Of the file's metadata: what was noticed of the recording, as JSON."""
_CHUNK_VALUES = 1 << 20
"""Voltages held at once: windows times context times channels."""

SCHEMA = pa.schema(
    [
        pa.field(
            "time_s", pa.float64(), metadata={"description": "the forecast moment, from the raw recording's start"}
        ),
        pa.field("channel", pa.dictionary(pa.int32(), pa.string())),
        pa.field("horizon_ms", pa.float64(), metadata={"description": "how far ahead of the last known sample"}),
        pa.field("forecast_mv", pa.float32(), metadata={"description": "the expected voltage"}),
    ]
)
QUANTILES = {"q10_mv": 0.1, "q50_mv": 0.5, "q90_mv": 0.9}
"""Further columns, from a forecaster with a predictive distribution: what the voltage stays below that often."""
SPIKE_CHANCE = "spike_chance"
"""A further column, where spikes are seen: the chance that the channel spikes up to `time_s`."""


@dataclass(frozen=True)
class ForecastFileSummary:
    """What became of forecasting a recording."""

    rows: int
    notice: NoveltySummary | None
    """How much of the recording is unlike the training rows; None of a forecaster that cannot tell."""


def forecast_recording(
    forecaster: Forecaster,
    recording: Recording,
    out: Path,
    *,
    every_ms: float,
    from_ms: float = 0.0,
    facts: Mapping[str, str] | None = None,
) -> ForecastFileSummary:
    """Forecast at regular moments of a recording, and write a row for each moment, horizon and channel.

    Histories never reach over a gap in time. The last forecasts lie behind the end of the recording.

    Args:
        forecaster: what forecasts.
        recording: what is forecast, at the rate that the forecaster was trained at.
        out: a Parquet file with the columns of `SCHEMA`, and `QUANTILES` and `SPIKE_CHANCE` where the forecaster has
            them, written whole or not at all.
        every_ms: from one moment to the next.
        from_ms: what is earlier in the recording is not forecast.
        facts: what else the file is to say of itself, beside the forecaster's config.

    Returns:
        How many rows there are, and what was noticed of the recording, which the file's metadata says as well.

    Raises:
        ForecasterError: the recording has another rate or other channels, is too short, or holds NaN.
    """
    origins = _origins(forecaster, recording, every_ms, from_ms)
    names = pa.array(recording.channel_names)
    schema = _schema(forecaster, facts or {})
    rows, noticing = 0, NoveltyAccumulator(recording.channel_names)
    with atomic_write(out) as aside, pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        samples_each = max(forecaster.config.context_samples, int(np.diff(origins, prepend=origins[0]).max()))
        for chunk in _chunks(origins, samples_each * len(names)):
            history_mv = _histories(forecaster, recording, chunk)
            forecast_mv = forecaster.predict_mv(history_mv)
            if forecaster.familiarity:
                noticing.add(forecaster.familiarity.judge(torch.from_numpy(np.ascontiguousarray(history_mv))))
            table = _table(forecaster, chunk, forecast_mv, names, recording)
            for name, values in _distribution_columns(forecaster, history_mv[:, -1], forecast_mv).items():
                table = table.append_column(name, pa.array(values.ravel()))
            table = table.cast(schema)
            writer.write_table(table)
            rows += table.num_rows
        notice = noticing.notice() if forecaster.familiarity else None
        if notice:
            writer.add_key_value_metadata({FAMILIARITY_KEY: json.dumps(notice.facts())})
    return ForecastFileSummary(rows, notice)


def _schema(forecaster: Forecaster, facts: Mapping[str, str]) -> pa.Schema:
    schema = SCHEMA
    if forecaster.distribution:
        for name, level in QUANTILES.items():
            described = {"description": f"the voltage stays below it with a probability of {level:.0%}"}
            schema = schema.append(pa.field(name, pa.float32(), metadata=described))
        if forecaster.distribution.sees_spikes:
            described = {"description": "the chance that the channel spikes between the forecast's making and time_s"}
            schema = schema.append(pa.field(SPIKE_CHANCE, pa.float32(), metadata=described))
    said = {"forecaster": forecaster.config.model_dump(mode="json"), **facts}
    return schema.with_metadata({"voltpipe": json.dumps(said)})


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
    """The last known sample of each forecast."""
    config = forecaster.config
    check_layout(forecaster, "the recording", rate_hz=recording.rate_hz, channel_names=recording.channel_names)
    step = max(1, round(every_ms * recording.rate_hz / 1000))
    bounds = pairwise([*recording.segment_starts, recording.n_samples])
    # Counted back from each end, so that the last forecast begins where the recording stops.
    starts = [np.arange(stop - 1, start + config.context_samples - 2, -step)[::-1] for start, stop in bounds]
    origins: Int[np.ndarray, " origin"] = np.concatenate(starts)
    origins = origins[origins + 1 >= from_ms / 1000 * recording.rate_hz]
    if not len(origins):
        raise ForecasterError(
            f"No segment of the recording's {recording.n_samples} samples holds the {config.context_samples} samples "
            f"of history that the forecaster needs for a forecast from {from_ms:g} ms on. Use a longer recording.",
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
            f"Channel {recording.channel_names[channel]} is NaN or infinite at {time_s:.4f} s, so nothing can be "
            "forecast from it. Cut the recording there.",
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
