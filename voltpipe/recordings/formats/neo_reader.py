"""Shared reader of the formats that neo supports: selection of segment, stream and voltages, and gains."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Shaped
from neo.rawio.baserawio import BaseRawIO

from voltpipe.recordings.formats.raw_signal import RawSignal, raise_as_damaged
from voltpipe.recordings.formats.series_selection import select_segment, select_series
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError, recording_time_fact
from voltpipe.recordings.units import is_voltage_unit, mv_per_unit


def open_with_neo(
    path: Path,
    hints: Hints,
    make_reader: Callable[[], BaseRawIO],
    *,
    name: str,
    is_tissue: Callable[[str], bool] = lambda stream: True,
) -> RawSignal:
    """Open a file or folder with one of neo's readers.

    Args:
        path: the file or folder.
        hints: `series` selects one of several streams, `segment` a segment. `unit` is for channels without a unit.
        make_reader: creates neo's reader.
        name: the name of the format.
        is_tissue: returns whether a stream of this name records tissue. Others (auxiliary inputs) are read only if
            `hints.series` names them.

    Raises:
        RecordingError: neo cannot read it, or the segment or stream is ambiguous.
    """
    # A damaged header can cause any kind of error in neo.
    with raise_as_damaged(path, name, Exception):
        reader = make_reader()
        reader.parse_header()
        segments = [(b, s) for b in range(reader.block_count()) for s in range(reader.segment_count(b))]
        segment = segments[select_segment(path, len(segments), hints.segment)]
        stream = _select_stream(path, reader, hints, is_tissue)
        return _raw_signal(path, hints, reader, segment, stream, name)


def _select_stream(path: Path, reader: Any, hints: Hints, is_tissue: Callable[[str], bool]) -> int:
    names = [str(stream["name"]) for stream in reader.header["signal_streams"]]
    voltages = [
        stream
        for index, stream in enumerate(names)
        if is_tissue(stream) and _is_kept(_channels(reader, index)["units"], hints).any()
    ]
    others = [stream for stream in names if stream not in voltages]
    return names.index(select_series(path, voltages, others, hints.series))


def _channels(reader: Any, stream: int) -> Shaped[np.ndarray, " channel"]:
    channels = reader.header["signal_channels"]
    selected: Shaped[np.ndarray, " channel"] = channels[
        channels["stream_id"] == reader.header["signal_streams"]["id"][stream]
    ]
    return selected


def _is_kept(units: Shaped[np.ndarray, " channel"], hints: Hints) -> Bool[np.ndarray, " channel"]:
    """Return whether each channel is kept: those in volts, or all if none is in volts and a hint gives the unit."""
    voltage = np.array([is_voltage_unit(str(unit)) for unit in units], dtype=bool)
    return voltage if voltage.any() or hints.unit is None else np.ones_like(voltage)


def _raw_signal(path: Path, hints: Hints, reader: Any, segment: tuple[int, int], stream: int, name: str) -> RawSignal:
    channels = _channels(reader, stream)
    kept = np.flatnonzero(_is_kept(channels["units"], hints))
    if not kept.size:
        raise RecordingError(
            f"{path.name}: no channel of the stream has a unit of voltage. Set it with the hint `unit`.",
            code="unit-missing",
        )
    left_out = ", ".join(f"{channel['name']} ({channel['units']})" for channel in np.delete(channels, kept))
    unit, scale, offset = _to_one_unit(channels[kept])
    _check_complete(path, reader, segment, stream)

    def read(start_sample: int, stop_sample: int) -> Float64[np.ndarray, "time channel"]:
        if start_sample == stop_sample:
            return np.empty((0, kept.size))
        with raise_as_damaged(path, name, Exception):
            raw = reader.get_analogsignal_chunk(*segment, start_sample, stop_sample, stream, channel_indexes=kept)
            return np.asarray(np.asarray(raw, dtype=np.float64) * scale + offset)

    stream_name = str(reader.header["signal_streams"]["name"][stream])
    return RawSignal(
        read=read,
        n_samples=int(reader.get_signal_size(*segment, stream)),
        n_channels=kept.size,
        unit=unit,
        rate_hz=float(channels["sampling_rate"][0]),
        channel_names=tuple(map(str, channels["name"][kept])),
        facts={
            "stream": stream_name,
            **({"channels_left_out": left_out} if left_out else {}),
            **recording_time_fact(reader.raw_annotations["blocks"][segment[0]].get("rec_datetime")),
        },
    )


def _to_one_unit(
    channels: Shaped[np.ndarray, " channel"],
) -> tuple[str | None, Float64[np.ndarray, " channel"], Float64[np.ndarray, " channel"]]:
    """Return the unit of the first channel (None if it is not a voltage), and each channel's gain and offset in it."""
    units: Sequence[str] = [str(unit) for unit in channels["units"]]
    gain, offset = channels["gain"].astype(np.float64), channels["offset"].astype(np.float64)
    if not is_voltage_unit(units[0]):
        return None, gain, offset
    factor = np.array([mv_per_unit(unit) / mv_per_unit(units[0]) for unit in units])
    return units[0], gain * factor, offset * factor


def _check_complete(path: Path, reader: Any, segment: tuple[int, int], stream: int) -> None:
    """Refuse a file that ends in the middle of a sample. neo would ignore the incomplete sample."""
    if not reader.has_buffer_description_api():
        return
    buffer = reader.get_analogsignal_buffer_description(*segment, reader.header["signal_streams"]["buffer_id"][stream])
    if buffer["type"] != "raw":
        return
    frame: Int[np.ndarray, ""] = np.dtype(buffer["dtype"]).itemsize * np.prod(buffer["shape"][1:], dtype=np.int64)
    rest = Path(buffer["file_path"]).stat().st_size - buffer["file_offset"] - buffer["shape"][0] * frame
    if 0 < rest < frame:
        raise RecordingError(f"{path.name} ends in the middle of a sample. Copy it again.", code="file-cut-off")
