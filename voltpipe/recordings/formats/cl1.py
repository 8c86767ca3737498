"""Reader of Cortical Labs' CL1: HDF5 with int16 counts `samples` (frame, channel) and metadata in root attributes.

Some other attributes are pickles. They are never read, so never loaded.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from voltpipe.recordings.formats.hdf5 import HDF5_ERRORS, internal_dataset, open_hdf5
from voltpipe.recordings.formats.raw_signal import RawSignal, check_numeric, raise_as_damaged
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError

_NAME = "CL1"


def open_cl1(path: Path, hints: Hints) -> RawSignal:
    """Open a CL1 recording.

    Raises:
        RecordingError: the file is damaged, cut off or of another layout.
    """
    with raise_as_damaged(path, _NAME, *HDF5_ERRORS):
        file = open_hdf5(path, _NAME)
        samples = internal_dataset(path, file, "samples")
        attributes = {
            name: float(file.attrs[name])
            for name in ("frames_per_second", "uV_per_sample_unit", "channel_count", "duration_frames")
            if name in file.attrs
        }
    if samples.ndim != 2:
        raise RecordingError(
            f"{path.name}: the samples have shape {samples.shape}. Expected (frame, channel).", code="shape-unexpected"
        )
    check_numeric(samples.dtype, path, "the samples")
    stated = (attributes.get("duration_frames", samples.shape[0]), attributes.get("channel_count", samples.shape[1]))
    if stated != samples.shape:
        raise RecordingError(
            f"{path.name} states {stated} frames and channels, but holds {samples.shape}. Copy it again.",
            code="file-cut-off",
        )
    uv_per_count = attributes.get("uV_per_sample_unit")

    def read(start_sample: int, stop_sample: int) -> Float64[np.ndarray, "time channel"]:
        with raise_as_damaged(path, _NAME, *HDF5_ERRORS):
            return np.asarray(samples[start_sample:stop_sample] * (uv_per_count or 1.0), dtype=np.float64)

    return RawSignal(
        read=read,
        n_samples=samples.shape[0],
        n_channels=samples.shape[1],
        unit=None if uv_per_count is None else "uV",
        rate_hz=attributes.get("frames_per_second"),
        channel_types=("electrode",) * samples.shape[1],
        facts={"device": _NAME},
    )
