"""Reader of Multi Channel Systems' HDF5 (from MCS Experimenter and DataManager).

Samples are in `Data/Recording_i/AnalogStream/Stream_j`. Volts are (count - ADZero) * ConversionFactor * 10**Exponent,
for each row. It uses only h5py: spikeinterface's reader fails on a stream that starts after 0 s, applies the offset in
the wrong dimension, and uses the factor of one row for all.
"""

from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float64

from voltpipe.recordings.formats.hdf5 import HDF5_ERRORS, internal_dataset, open_hdf5, text
from voltpipe.recordings.formats.raw_signal import RawSignal, check_numeric, raise_as_damaged
from voltpipe.recordings.formats.series_selection import select_segment, select_series
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.units import is_voltage_unit

_NAME = "Multi Channel Systems"
_TICKS_PER_S = 1e6


def open_mcs(path: Path, hints: Hints) -> RawSignal:
    """Open an MCS file. `hints.series` selects a stream, such as `Stream_0`, and `hints.segment` a recording.

    Raises:
        RecordingError: the file is damaged or ambiguous, or its channels differ in unit or rate.
    """
    with raise_as_damaged(path, _NAME, *HDF5_ERRORS):
        file = open_hdf5(path, _NAME)
        recordings = [group for name, group in file["Data"].items() if name.startswith("Recording_")]
        recording = recordings[select_segment(path, len(recordings), hints.segment)]
        streams = recording["AnalogStream"]
        electrodes = [name for name in streams if _has_electrodes(streams[name])]
        others = [name for name in streams if name not in electrodes]
        stream = streams[select_series(path, electrodes, others, hints.series)]
        return _raw_signal(path, stream, _facts(file["Data"], stream))


def _has_electrodes(stream: h5py.Group) -> bool:
    kind = text(stream.attrs.get("DataSubType", "Electrode"))
    return kind == "Electrode" and all(is_voltage_unit(text(unit)) for unit in stream["InfoChannel"]["Unit"])


def _raw_signal(path: Path, stream: h5py.Group, facts: dict[str, str | int | float]) -> RawSignal:
    data = internal_dataset(path, stream, "ChannelData")
    check_numeric(data.dtype, path, f"the counts of {data.name}")
    channels = internal_dataset(path, stream, "InfoChannel")[:]
    if data.ndim != 2 or len(channels) != data.shape[0]:
        raise RecordingError(
            f"{path.name} describes {len(channels)} channels, but the counts have shape {data.shape}. Export it again.",
            code="channel-count-mismatch",
        )
    units, ticks = sorted(set(map(text, channels["Unit"]))), sorted(set(channels["Tick"].tolist()))
    if len(units) > 1 or len(ticks) > 1:
        raise RecordingError(
            f"{path.name} has channels in units {units} with sampling steps {ticks} us. Expected one of each.",
            code="channels-not-uniform",
        )
    rows = channels["RowIndex"].astype(np.intp)
    zero = channels["ADZero"].astype(np.float64)
    scale = channels["ConversionFactor"] * 10.0 ** channels["Exponent"]

    def read(start_sample: int, stop_sample: int) -> Float64[np.ndarray, "time channel"]:
        with raise_as_damaged(path, _NAME, *HDF5_ERRORS):
            return np.asarray((data[:, start_sample:stop_sample].T[:, rows] - zero) * scale)

    return RawSignal(
        read=read,
        n_samples=data.shape[1],
        n_channels=data.shape[0],
        unit=units[0],
        rate_hz=_TICKS_PER_S / ticks[0],
        channel_names=tuple(map(text, channels["Label"])),
        channel_types=("electrode",) * data.shape[0],
        segment_starts=_segment_starts(path, stream, data.shape[1], ticks[0]),
        facts=facts,
    )


def _segment_starts(path: Path, stream: h5py.Group, n_samples: int, tick: int) -> tuple[int, ...]:
    """Return the first sample of each segment. Time stamps are rows of (first time in us, first index, last index)."""
    blocks = internal_dataset(path, stream, "ChannelDataTimeStamps")[:].astype(np.int64)
    times, first, last = blocks[:, 0], blocks[:, 1], blocks[:, 2]
    if not (first[0] == 0 and last[-1] == n_samples - 1 and (first[1:] == last[:-1] + 1).all()):
        raise RecordingError(
            f"{path.name}: the time stamps do not cover the {n_samples} samples. Export it again.",
            code="timestamp-count-mismatch",
        )
    jumps = times[1:] - times[:-1] - (last[:-1] - first[:-1] + 1) * tick
    return (0, *first[1:][np.abs(jumps) > tick / 2].tolist())


def _facts(data: h5py.Group, stream: h5py.Group) -> dict[str, str | int | float]:
    attributes = {"device": data.attrs.get("MeaName"), "stream": stream.attrs.get("Label")}
    return {name: text(value) for name, value in attributes.items() if value is not None}
