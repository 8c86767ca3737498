"""Reader of NWB (HDF5): an ElectricalSeries, a CurrentClampSeries, or a TimeSeries in a unit of voltage.

It uses only h5py. pynwb would load the cached specification of a file, which takes longer than reading the voltages.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from jaxtyping import Float64

from voltpipe.recordings.formats.hdf5 import HDF5_ERRORS, internal_dataset, open_hdf5, text, texts
from voltpipe.recordings.formats.raw_signal import RawSignal, check_numeric, raise_as_damaged
from voltpipe.recordings.formats.series_selection import select_series
from voltpipe.recordings.formats.timeline import Timing, read_timing
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError, recording_time_fact
from voltpipe.recordings.units import is_voltage_unit

_MAX_NOTE_LENGTH = 200
"""Longer notes are ignored. Some converters write a whole header of another format into one note."""
_POSITIONS = (("rel_x", "rel_y", "rel_z"), ("x", "y", "z"), ("x_um", "y_um", "z_um"))
"""Column names of positions in electrode tables. The last are those of voltpipe."""
_ALWAYS_VOLTAGE = {"ElectricalSeries", "CurrentClampSeries"}


def open_nwb(path: Path, hints: Hints) -> RawSignal:
    """Open an NWB file. If it has several series of voltages, `hints.series` selects one.

    Raises:
        RecordingError: the file is damaged, not NWB or ambiguous, or its samples cannot be read.
    """
    with raise_as_damaged(path, "NWB", *HDF5_ERRORS):
        file = open_hdf5(path, "NWB")
        if "nwb_version" not in file.attrs:
            raise RecordingError(
                f"{path.name} is HDF5 but not NWB: it has no nwb_version. Export it as NWB.", code="not-nwb"
            )
        return _raw_signal(path, file, _select_group(path, file, hints.series))


def _select_group(path: Path, file: h5py.File, wanted: str | None) -> h5py.Group:
    series: dict[str, h5py.Group] = {}

    def collect(name: str, node: Any) -> None:
        if isinstance(node, h5py.Group) and "data" in node:
            series[name] = node

    for folder in ("acquisition", "processing"):
        if folder in file:
            file[folder].visititems(lambda name, node, folder=folder: collect(f"{folder}/{name}", node))
    voltages = [name for name, group in series.items() if _is_voltage(group)]
    others = [name for name in series if name not in voltages]
    return series[select_series(path, voltages, others, wanted)]


def _is_voltage(group: h5py.Group) -> bool:
    kind = text(group.attrs.get("neurodata_type", ""))
    if kind in _ALWAYS_VOLTAGE:
        return True
    return kind == "TimeSeries" and is_voltage_unit(text(group["data"].attrs.get("unit", "")))


def _raw_signal(path: Path, file: h5py.File, group: h5py.Group) -> RawSignal:
    data = internal_dataset(path, group, "data")
    if data.ndim not in (1, 2):
        raise RecordingError(
            f"{path.name}: {group.name} has shape {data.shape}. Expected (time, channel).", code="shape-unexpected"
        )
    check_numeric(data.dtype, path, f"the data of {group.name}")
    n_channels = data.shape[1] if data.ndim == 2 else 1
    scale = np.full(n_channels, float(data.attrs.get("conversion", 1.0)))
    if "channel_conversion" in group:
        scale = scale * internal_dataset(path, group, "channel_conversion")[:]
    offset = float(data.attrs.get("offset", 0.0))

    def read(start_sample: int, stop_sample: int) -> Float64[np.ndarray, "time channel"]:
        with raise_as_damaged(path, "NWB", *HDF5_ERRORS):
            return np.asarray(data[start_sample:stop_sample].reshape(-1, n_channels) * scale + offset)

    names, types, positions_um = _channels(path, file, group)
    timing = _timing(path, group, data.shape[0])
    return RawSignal(
        read=read,
        n_samples=data.shape[0],
        n_channels=n_channels,
        unit=text(data.attrs["unit"]) if "unit" in data.attrs else None,
        channel_names=names,
        channel_types=types,
        positions_um=positions_um,
        facts=_facts(file),
        **timing._asdict(),
    )


def _timing(path: Path, group: h5py.Group, n_samples: int) -> Timing:
    if "starting_time" in group:
        return Timing(float(group["starting_time"].attrs["rate"]))
    if "timestamps" not in group:
        return Timing()
    stamps = internal_dataset(path, group, "timestamps")
    if stamps.shape != (n_samples,):
        raise RecordingError(
            f"{path.name} has {stamps.shape[0]} time stamps for {n_samples} samples. Export it again.",
            code="timestamp-count-mismatch",
        )
    return read_timing(lambda start, stop: stamps[start:stop].astype(np.float64), n_samples)


class _Channels(NamedTuple):
    names: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    positions_um: Float64[np.ndarray, "channel axis"] | None = None


def _channels(path: Path, file: h5py.File, group: h5py.Group) -> _Channels:
    """Read channels from the electrode table, or from a table `channels` in the series' group or in scratch."""
    if "electrodes" in group:
        rows = internal_dataset(path, group, "electrodes")
        table = file[rows.attrs["table"]]
        column = next((name for name in ("channel_name", "label") if name in table), None)
        labels = texts(table[column]) if column else tuple(f"electrode_{i}" for i in table["id"][:])
        positions_um = _positions_um(table)
        return _Channels(
            names=tuple(labels[row] for row in rows[:]),
            types=("electrode",) * len(rows),
            positions_um=None if positions_um is None else positions_um[rows[:]],
        )
    for table in (group.parent.get("channels"), file.get("scratch/channels")):
        if isinstance(table, h5py.Group) and "channel_name" in table:
            types = texts(table["channel_type"]) if "channel_type" in table else None
            return _Channels(texts(table["channel_name"]), types, _positions_um(table))
    return _Channels()


def _positions_um(table: h5py.Group) -> Float64[np.ndarray, "row axis"] | None:
    """Return the positions of a table's rows in um: those in the electrode group, or else those in the tissue.

    NWB prescribes um for both.
    """
    for axes in _POSITIONS:
        if all(axis in table for axis in axes[:2]):
            return np.column_stack([table[axis][:] for axis in axes if axis in table]).astype(np.float64)
    return None


def _facts(file: h5py.File) -> dict[str, str | int | float]:
    """Return the session's start, and the short strings and finite numbers of `general/notes` if it is JSON."""
    start = recording_time_fact(text(file["session_start_time"][()])) if "session_start_time" in file else {}
    return {**_notes(file), **start}


def _notes(file: h5py.File) -> dict[str, str | int | float]:
    try:
        notes = json.loads(text(file["general/notes"][()])) if "general/notes" in file else {}
    except json.JSONDecodeError:
        return {}
    if not isinstance(notes, dict):
        return {}
    scalars = {name: value for name, value in notes.items() if type(value) in (str, int, float)}
    return {
        name: value
        for name, value in scalars.items()
        if (len(value) <= _MAX_NOTE_LENGTH if isinstance(value, str) else math.isfinite(value))
    }
