"""Reader of MaxWell Biosystems' MaxOne and MaxTwo (`.raw.h5` of MaxLab Live): counts of the routed electrodes by well.

It uses only h5py. neo's reader assumes a gain of 512 if the file states none, and spikeinterface's reader downloads a
decompression plugin without asking. The layout from before 2017 (version 20160704) states no rate, and is refused.
"""

from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float64, Int

from voltpipe.recordings.formats.hdf5 import HDF5_ERRORS, internal_dataset, open_hdf5, text
from voltpipe.recordings.formats.raw_signal import RawSignal, check_numeric, raise_as_damaged
from voltpipe.recordings.formats.series_selection import select_series
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError

_NAME = "MaxWell"


def open_maxwell(path: Path, hints: Hints) -> RawSignal:
    """Open a MaxWell file. If it has several wells, `hints.series` selects one, such as `well000/rec0000`.

    Raises:
        RecordingError: the file is damaged, of an old layout or ambiguous, or its samples cannot be read.
    """
    with raise_as_damaged(path, _NAME, *HDF5_ERRORS):
        file = open_hdf5(path, _NAME)
        if "wells" not in file:
            raise RecordingError(
                f"{path.name} has a layout from before 2017. Export it with a current MaxLab Live.",
                code="layout-too-old",
            )
        wells = file["wells"]
        names = [f"{well}/{recording}" for well in wells for recording in wells[well]]
        recorded = [name for name in names if "groups/routed/raw" in wells[name]]
        others = [name for name in names if name not in recorded]
        name = select_series(path, recorded, others, hints.series)
        return _raw_signal(path, wells[name], text(file["version"][0]) if "version" in file else "unknown")


def _raw_signal(path: Path, well: h5py.Group, version: str) -> RawSignal:
    raw = internal_dataset(path, well, "groups/routed/raw")
    if raw.ndim != 2:
        raise RecordingError(
            f"{path.name}: {raw.name} has shape {raw.shape}. Expected (channel, time).", code="shape-unexpected"
        )
    check_numeric(raw.dtype, path, f"the counts of {raw.name}")
    settings = well["settings"]
    mapping = internal_dataset(path, settings, "mapping")[:]
    rows = _rows_of_mapping(path, well, mapping["channel"], raw.shape[0])
    # If the file does not state the least significant bit, the unit of the counts must come from a hint.
    has_scale = "lsb" in settings
    mv_per_count = float(settings["lsb"][0]) * 1e3 if has_scale else 1.0

    def read(start_sample: int, stop_sample: int) -> Float64[np.ndarray, "time channel"]:
        with raise_as_damaged(path, _NAME, *HDF5_ERRORS):
            return np.asarray(raw[:, start_sample:stop_sample].T * mv_per_count)

    return RawSignal(
        read=read,
        n_samples=raw.shape[1],
        n_channels=raw.shape[0],
        unit="mV" if has_scale else None,
        rate_hz=float(settings["sampling"][0]) if "sampling" in settings else None,
        channel_names=tuple(f"electrode_{mapping['electrode'][row]}" for row in rows),
        channel_types=("electrode",) * raw.shape[0],
        positions_um=np.column_stack([mapping["x"][rows], mapping["y"][rows]]).astype(np.float64),
        facts={"device": f"MaxWell, file version {version}"},
    )


def _rows_of_mapping(
    path: Path, well: h5py.Group, mapped: Int[np.ndarray, " mapped"], n_channels: int
) -> Int[np.ndarray, " channel"]:
    """Return the row of the mapping for each row of the counts, matched by channel if the file lists the channels."""
    if "groups/routed/channels" in well:
        recorded = internal_dataset(path, well, "groups/routed/channels")[:]
        row_of = {channel: row for row, channel in enumerate(mapped.tolist())}
        rows = np.array([row_of.get(channel, -1) for channel in recorded.tolist()], dtype=np.intp)
    else:
        rows = np.flatnonzero(mapped >= 0)
    if len(rows) != n_channels or (rows < 0).any():
        raise RecordingError(
            f"{path.name}: the mapping covers {(rows >= 0).sum()} of {n_channels} channels. Export it again.",
            code="channel-mapping-incomplete",
        )
    return rows
