"""Readers of spikeinterface's folders, as written by `recording.save(format="binary")` and `format="zarr"`.

They do not use spikeinterface, whose loaders import the classes that a folder names, and unpickle its properties.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from jaxtyping import Float64, Num

from voltpipe.recordings.formats.raw_signal import MappedSamples, RawSignal, check_numeric, raise_as_damaged
from voltpipe.recordings.formats.series_selection import select_segment
from voltpipe.recordings.formats.timeline import Timing, read_timing
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError

_BINARY, _ZARR = "spikeinterface binary", "spikeinterface Zarr"


def open_binary_folder(path: Path, hints: Hints) -> RawSignal:
    """Open a folder with `binary.json` and one file of samples per segment.

    Raises:
        RecordingError: the folder is damaged, incomplete or ambiguous, or names files outside it.
    """
    with raise_as_damaged(path, _BINARY, Exception):
        metadata = json.loads((path / "binary.json").read_text(encoding="utf-8"))["kwargs"]
        segment = select_segment(path, len(metadata["file_paths"]), hints.segment)
        file = path / metadata["file_paths"][segment]
        if file.resolve().parent != path.resolve():
            raise RecordingError(
                f"{path.name}: {metadata['file_paths'][segment]!r} is outside the folder. Save the recording again.",
                code="samples-outside-file",
            )
        n_channels = int(metadata.get("num_channels") or metadata["num_chan"])
        dtype = np.dtype(metadata["dtype"])
        check_numeric(dtype, path, "the samples")
        n_values, rest = divmod(file.stat().st_size - metadata["file_offset"], dtype.itemsize)
        if metadata["time_axis"] != 0 or rest or n_values % n_channels:
            raise RecordingError(
                f"{path.name}: {file.name} does not hold whole samples of {n_channels} channels. Copy it again.",
                code="file-cut-off",
            )
        shape = n_values // n_channels, n_channels
        samples = MappedSamples(np.memmap(file, dtype, "r", metadata["file_offset"], shape))
        times_file = path / f"times_cached_seg{segment}.raw"
        times = np.memmap(times_file, np.float64, "r") if times_file.is_file() else None
        probes = path / "probegroup.json"
        return _raw_signal(
            path,
            samples,
            times,
            rate_hz=metadata["sampling_frequency"],
            names=metadata["channel_ids"],
            gain_uv=metadata["gain_to_uV"],
            offset_uv=metadata["offset_to_uV"],
            probegroup=json.loads(probes.read_text(encoding="utf-8")) if probes.is_file() else None,
        )


def open_zarr_folder(path: Path, hints: Hints) -> RawSignal:
    """Open a Zarr folder with `traces_seg0`, `traces_seg1`, ... and `channel_ids`.

    Raises:
        RecordingError: the folder is damaged, incomplete or ambiguous, or holds pickles.
    """
    with raise_as_damaged(path, _ZARR, Exception):
        _refuse_pickles(path)
        root = zarr.open_group(str(path), mode="r")
        segment = select_segment(path, int(root.attrs["num_segments"]), hints.segment)
        samples = root[f"traces_seg{segment}"]
        check_numeric(samples.dtype, path, "the samples")
        # Zarr reads missing chunks as zeros.
        if samples.nchunks_initialized != samples.nchunks:
            missing = samples.nchunks - samples.nchunks_initialized
            raise RecordingError(
                f"{path.name} lacks {missing} of {samples.nchunks} chunks of samples. Copy it again.",
                code="chunks-missing",
            )
        properties = root.get("properties", {})
        return _raw_signal(
            path,
            samples,
            root.get(f"times_seg{segment}"),
            rate_hz=root.attrs["sampling_frequency"],
            names=root["channel_ids"][:],
            gain_uv=properties["gain_to_uV"][:] if "gain_to_uV" in properties else None,
            offset_uv=properties["offset_to_uV"][:] if "offset_to_uV" in properties else None,
            probegroup=root.attrs.get("probegroup"),
        )


def _raw_signal(
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
    # Without gain and offset, the unit of the counts must come from a hint.
    scaled = gain_uv is not None and offset_uv is not None
    gain = np.broadcast_to(np.asarray(gain_uv if scaled else 1.0, np.float64), n_channels)
    offset = np.broadcast_to(np.asarray(offset_uv if scaled else 0.0, np.float64), n_channels)

    def read(start_sample: int, stop_sample: int) -> Num[np.ndarray, "time channel"]:
        with raise_as_damaged(path, "spikeinterface", Exception):
            return np.asarray(samples[start_sample:stop_sample] * gain + offset)

    timing = Timing(float(rate_hz)) if times is None else _timing(path, times, n_samples)
    return RawSignal(
        read=read,
        n_samples=n_samples,
        n_channels=n_channels,
        unit="uV" if scaled else None,
        channel_names=tuple(map(str, names)),
        **timing._asdict(),
        positions_um=_positions_um(probegroup, n_channels),
    )


def _timing(path: Path, times: Any, n_samples: int) -> Timing:
    if len(times) != n_samples:
        raise RecordingError(
            f"{path.name} has {len(times)} time stamps, but {n_samples} samples. Save it again.",
            code="timestamp-count-mismatch",
        )
    return read_timing(lambda start, stop: np.asarray(times[start:stop], np.float64), n_samples)


def _positions_um(probegroup: dict[str, Any] | None, n_channels: int) -> Float64[np.ndarray, "channel axis"] | None:
    """Return the positions of the contacts in the order of the channels, or None unless all are known in um."""
    probes = probegroup["probes"] if probegroup else []
    if not probes or any(probe["si_units"] != "um" for probe in probes):
        return None
    contacts = [contact for probe in probes for contact in probe["contact_positions"]]
    wired = [index for probe in probes for index in probe.get("device_channel_indices", ())]
    if sorted(wired) != list(range(n_channels)) or len(contacts) != n_channels:
        return None
    return np.asarray(contacts, np.float64)[np.argsort(wired)]


def _refuse_pickles(path: Path) -> None:
    descriptions = (file for pattern in (".zarray", ".zmetadata") for file in path.rglob(pattern))
    # Parsed and written again, because JSON may use escapes within a word.
    if any('"pickle"' in json.dumps(json.loads(file.read_text(encoding="utf-8"))) for file in descriptions):
        raise RecordingError(
            f"{path.name} holds pickles, which can run code when loaded. Save it without them.",
            code="pickle-refused",
        )
