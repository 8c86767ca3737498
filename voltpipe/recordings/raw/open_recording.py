"""Opening of raw recordings of any format, with hints applied."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float32, Float64, Int

from voltpipe.recordings.formats.format_registry import detect_format
from voltpipe.recordings.formats.raw_signal import RawSignal, ReadSamples
from voltpipe.recordings.hints import Hints, validate_hints
from voltpipe.recordings.raw.sidecar import read_hints
from voltpipe.recordings.recording import RecordingError, check_range
from voltpipe.recordings.units import mv_per_unit


@dataclass(frozen=True)
class RawRecording:
    """Raw file as a `Recording`."""

    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    n_samples: int
    segment_starts: tuple[int, ...]
    facts: Mapping[str, str | int | float]
    positions_um: Float64[np.ndarray, "channel axis"] | None
    stored_read: ReadSamples
    mv_per_unit: float
    kept_columns: Int[np.ndarray, " channel"]

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """Return the samples of the half-open range [start_sample, stop_sample) in mV."""
        check_range(start_sample, stop_sample, self.n_samples)
        stored = self.stored_read(start_sample, stop_sample)
        if len(self.kept_columns) < stored.shape[1]:
            stored = stored[:, self.kept_columns]
        # In float64, so that a factor of 1e-3 and its inverse restore the same float32. The quality check reports
        # overflow with the channel.
        with np.errstate(over="ignore", invalid="ignore"):
            return (stored.astype(np.float64) * self.mv_per_unit).astype(np.float32)


def open_recording(path: Path | str, **hints: Any) -> RawRecording:
    """Open a raw recording lazily.

    Args:
        path: a file or folder of a known format. Hints are also read from the sidecar `<recording>.yaml` next to it.
        **hints: fields of `Hints`. They override the sidecar, which overrides the file.

    Raises:
        RecordingError: the file cannot be read, or its unit, rate or channels are not known.
    """
    path = Path(path)
    if not path.exists():
        raise RecordingError(f"{path} does not exist. Check the path.", code="file-missing")
    if path.is_file() and not path.stat().st_size:
        raise RecordingError(f"{path.name} is empty. Copy it again.", code="file-empty")
    all_hints = validate_hints({**read_hints(path).given(), **hints}, "hints")
    file_format = detect_format(path)
    try:
        return _hinted(file_format.open(path, all_hints), all_hints, file_format.name)
    except RecordingError as error:
        if path.name in str(error):
            raise
        raise RecordingError(f"{path.name}: {error}", code=error.code) from None


def _hinted(stored: RawSignal, hints: Hints, format_name: str) -> RawRecording:
    if not stored.n_channels or not stored.n_samples:
        raise RecordingError(
            f"Found {stored.n_samples} samples of {stored.n_channels} channels. Expected at least one of each.",
            code="recording-empty",
        )
    rate_hz = hints.rate_hz or stored.rate_hz
    if rate_hz is None:
        raise RecordingError("The sampling rate is not known. Give it with the hint `rate_hz`.", code="rate-unknown")
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise RecordingError(
            f"A sampling rate of {rate_hz} Hz is impossible. Give the right one with the hint `rate_hz`.",
            code="rate-impossible",
        )
    names = hints.channel_names or stored.channel_names or tuple(f"channel_{i}" for i in range(stored.n_channels))
    types = hints.channel_types or stored.channel_types or ("unknown",) * stored.n_channels
    _check_channels(names, types, stored.n_channels)
    kept = _kept_columns(names, hints.exclude_channels)
    unit = hints.unit or stored.unit
    factor = mv_per_unit(unit)
    intervals_s = hints.stimulation_intervals_s
    stated = {
        "format": format_name,
        "unit": unit,
        "segment": hints.segment,
        "dropped_samples": stored.dropped_samples or None,
        "condition": hints.condition,
        "preparation": hints.preparation,
        "stimulation_intervals_s": ", ".join(f"{start_s:g} to {stop_s:g}" for start_s, stop_s in intervals_s) or None,
    }
    return RawRecording(
        rate_hz=float(rate_hz),
        channel_names=tuple(names[i] for i in kept),
        channel_types=tuple(types[i] for i in kept),
        n_samples=stored.n_samples,
        segment_starts=stored.segment_starts,
        facts={**stored.facts, **{name: fact for name, fact in stated.items() if fact is not None}},
        positions_um=stored.positions_um[kept] if _are_known(stored.positions_um) else None,
        stored_read=stored.read,
        mv_per_unit=factor,
        kept_columns=kept,
    )


def _are_known(positions_um: Float64[np.ndarray, "channel axis"] | None) -> TypeGuard[np.ndarray]:
    """Return whether all positions are known. Some files use NaN for unknown positions."""
    return positions_um is not None and bool(np.isfinite(positions_um).all())


def _check_channels(names: tuple[str, ...], types: tuple[str, ...], n_channels: int) -> None:
    for what, given in (("names", names), ("types", types)):
        if len(given) != n_channels:
            raise RecordingError(
                f"Found {len(given)} channel {what} for {n_channels} channels. Give one for each channel.",
                code="channel-count-mismatch",
            )
    twice = [name for name, count in Counter(names).items() if count > 1 or not name]
    if twice:
        raise RecordingError(
            f"Empty or repeated channel names: {', '.join(map(repr, twice[:5]))}. "
            "Give unique names with the hint `channel_names`.",
            code="channel-names-not-unique",
        )


def _kept_columns(names: tuple[str, ...], excluded: tuple[str, ...]) -> Int[np.ndarray, " channel"]:
    unknown = [name for name in excluded if name not in names]
    if unknown:
        raise RecordingError(
            f"exclude_channels names channels that do not exist: {', '.join(unknown)}. Correct the hint.",
            code="channel-unknown",
        )
    kept = np.array([i for i, name in enumerate(names) if name not in set(excluded)], dtype=np.intp)
    if not kept.size:
        raise RecordingError(
            "The hint `exclude_channels` leaves out every channel. Keep at least one.", code="channels-all-excluded"
        )
    return kept
