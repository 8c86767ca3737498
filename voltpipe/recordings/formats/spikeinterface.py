"""spikeinterface's own folders, as `recording.save(format="binary")` and `format="zarr"` write them.

Read without spikeinterface: its loaders import the classes that a folder names, and unpickle its properties.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float64, Num

from voltpipe.recordings.formats.raw_signal import MappedSamples, RawSignal, check_numeric, raise_as_damaged
from voltpipe.recordings.formats.series_selection import select_segment
from voltpipe.recordings.formats.timeline import Timeline, Timing
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError, chunk_samples

_BINARY, _ZARR = "spikeinterface binary", "spikeinterface Zarr"


def open_binary_folder(path: Path, hints: Hints) -> RawSignal:
    """Open a folder with `binary.json` and one file of samples a segment."""
    with raise_as_damaged(path, _BINARY, Exception):
        said = json.loads((path / "binary.json").read_text(encoding="utf-8"))["kwargs"]
        segment = select_segment(path, len(said["file_paths"]), hints.segment)
        file = path / said["file_paths"][segment]
        if file.resolve().parent != path.resolve():
            raise RecordingError(
                f"{path.name}: {said['file_paths'][segment]!r} is outside the folder. Save the recording again.",
                code="samples-outside-file",
            )
        n_channels = int(said.get("num_channels") or said["num_chan"])
        dtype = np.dtype(said["dtype"])
        check_numeric(dtype, path, "samples")
        n_values, rest = divmod(file.stat().st_size - said["file_offset"], dtype.itemsize)
        if said["time_axis"] != 0 or rest or n_values % n_channels:
            raise RecordingError(
                f"{path.name}: {file.name} does not hold whole samples of {n_channels} channels. Copy it again.",
                code="file-cut-off",
            )
        shape = n_values // n_channels, n_channels
        samples = MappedSamples(np.memmap(file, dtype, "r", said["file_offset"], shape))
        times_file = path / f"times_cached_seg{segment}.raw"
        times = np.memmap(times_file, np.float64, "r") if times_file.is_file() else None
        probes = path / "probegroup.json"
        return _stored(
            path,
            samples,
            times,
            rate_hz=said["sampling_frequency"],
            names=said["channel_ids"],
            gain_uv=said["gain_to_uV"],
            offset_uv=said["offset_to_uV"],
            probegroup=json.loads(probes.read_text(encoding="utf-8")) if probes.is_file() else None,
        )


def open_zarr_folder(path: Path, hints: Hints) -> RawSignal:
    """Open a Zarr folder with `traces_seg0`, `traces_seg1`, ... and `channel_ids`."""
    with raise_as_damaged(path, _ZARR, Exception):
        _refuse_pickles(path)
        root = zarr.open_group(str(path), mode="r")
        segment = select_segment(path, int(root.attrs["num_segments"]), hints.segment)
        samples = root[f"traces_seg{segment}"]
        check_numeric(samples.dtype, path, "samples")
        # Zarr reads a chunk that is missing as zeros.
        if samples.nchunks_initialized != samples.nchunks:
            missing = samples.nchunks - samples.nchunks_initialized
            raise RecordingError(
                f"{path.name} lacks {missing} of {samples.nchunks} chunks of samples. Copy it again.",
                code="chunks-missing",
            )
        properties = root.get("properties", {})
        return _stored(
            path,
            samples,
            root.get(f"times_seg{segment}"),
            rate_hz=root.attrs["sampling_frequency"],
            names=root["channel_ids"][:],
            gain_uv=properties["gain_to_uV"][:] if "gain_to_uV" in properties else None,
            offset_uv=properties["offset_to_uV"][:] if "offset_to_uV" in properties else None,
            probegroup=root.attrs.get("probegroup"),
        )


def _stored(
    path: Path,
    samples: Any,
    times: Any,
    *,
    rate_hz: float,
    names: Any,
    gain_uv: Any,
    offset_uv: Any,
    probegroup: dict[str, Any] | None,
) -> RawSignal:
    n_samples, n_channels = samples.shape
    if len(names) != n_channels:
        raise RecordingError(
            f"{path.name} names {len(names)} channels, but its samples have {n_channels}. Save it again.",
            code="channel-count-mismatch",
        )
    # Without gain and offset the counts have no unit, and a hint has to say it.
    scaled = gain_uv is not None and offset_uv is not None
    gain = np.broadcast_to(np.asarray(gain_uv if scaled else 1.0, np.float64), n_channels)
    offset = np.broadcast_to(np.asarray(offset_uv if scaled else 0.0, np.float64), n_channels)

    def read(start_sample: int, stop_sample: int) -> Num[np.ndarray, "time channel"]:
        with raise_as_damaged(path, "spikeinterface", Exception):
            return np.asarray(samples[start_sample:stop_sample] * gain + offset)

    timing = Timing(float(rate_hz)) if times is None else _timeline(path, times, n_samples)
    return RawSignal(
        read=read,
        n_samples=n_samples,
        n_channels=n_channels,
        unit="uV" if scaled else None,
        channel_names=tuple(map(str, names)),
        **timing._asdict(),
        positions_um=_positions_um(probegroup, n_channels),
    )


def _timeline(path: Path, times: Any, n_samples: int) -> Timing:
    if len(times) != n_samples:
        raise RecordingError(
            f"{path.name} has {len(times)} time stamps for {n_samples} samples. Save it again.",
            code="timestamp-count-mismatch",
        )
    timeline, step = Timeline(), chunk_samples(1)
    for start in range(0, n_samples, step):
        timeline.add(np.asarray(times[start : start + step], np.float64))
    return timeline.finish()


def _positions_um(probegroup: dict[str, Any] | None, n_channels: int) -> Float64[np.ndarray, "channel axis"] | None:
    """Where the contacts lie, in the channels' order; None where they are not all known in um."""
    probes = probegroup["probes"] if probegroup else []
    if not probes or any(probe["si_units"] != "um" for probe in probes):
        return None
    contacts = [contact for probe in probes for contact in probe["contact_positions"]]
    wired = [index for probe in probes for index in probe.get("device_channel_indices", ())]
    if sorted(wired) != list(range(n_channels)) or len(contacts) != n_channels:
        return None
    return np.asarray(contacts, np.float64)[np.argsort(wired)]


def _refuse_pickles(path: Path) -> None:
    described = (file for pattern in (".zarray", ".zmetadata") for file in path.rglob(pattern))
    # Written anew, since JSON may spell a word with escapes.
    if any('"pickle"' in json.dumps(json.loads(file.read_text(encoding="utf-8"))) for file in described):
        raise RecordingError(
            f"{path.name} holds pickles, which can run code when loaded. Save it without them.",
            code="pickle-refused",
        )
