"""Checks of a recording as a whole: time, rate, duration, and comparison with other recordings."""

from collections import Counter
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.quality.quality_report import CheckOutcome, Severity
from voltpipe.recordings.recording import Recording, RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.store.conditioned_recording import conditioned_paths, open_conditioned
from voltpipe.recordings.store.conditioned_writer import ConditionedMetadata


def gaps(recording: Recording) -> CheckOutcome:
    """Check for gaps in time."""
    starts = recording.segment_starts
    lengths = np.diff([*starts, recording.n_samples])
    n_gaps = len(starts) - 1
    message = "There is no gap in time."
    if n_gaps:
        message = f"{n_gaps} gaps in time, the first before sample {starts[1]}. No window crosses a gap."
    figures = {"gaps": n_gaps, "longest_stretch_s": float(lengths.max() / recording.rate_hz)}
    return CheckOutcome(name="gaps", passed=not n_gaps, severity=Severity.WARN, message=message, figures=figures)


def rate(recording: Recording, settings: QualitySettings) -> CheckOutcome:
    """Check the sampling rate."""
    passed = settings.least_rate_hz <= recording.rate_hz <= settings.highest_rate_hz
    bounds = f"{settings.least_rate_hz:g} to {settings.highest_rate_hz:g} Hz"
    message = f"{recording.rate_hz:g} Hz lies within {bounds}."
    if not passed:
        message = f"{recording.rate_hz:g} Hz is not plausible. Expected {bounds}. Give it with the hint `rate_hz`."
    figures: dict[str, float | int | str] = {"rate_hz": recording.rate_hz}
    return CheckOutcome(name="rate", passed=passed, severity=Severity.ERROR, message=message, figures=figures)


def duration(recording: Recording, conditioning: ConditioningSettings, kept_s: float | None) -> CheckOutcome:
    """Check the duration after trimming and, if `kept_s` is given, after blanking."""
    least_s = conditioning.least_samples(recording.rate_hz) / recording.rate_hz
    duration_s = recording.n_samples / recording.rate_hz
    long_enough = recording.n_samples >= conditioning.least_samples(recording.rate_hz)
    message = f"The recording lasts {duration_s:g} s, but {least_s:g} s are needed." + (
        "" if long_enough else " Record longer or trim less."
    )
    figures: dict[str, float | int | str] = {"duration_s": duration_s}
    enough_kept = kept_s is None or kept_s >= conditioning.least_kept_s
    if kept_s is not None:
        figures["kept_s"] = kept_s
    if not enough_kept:
        message = (
            f"Trimming and blanking leave {kept_s:g} s, but {conditioning.least_kept_s:g} s are needed. Record longer."
        )
    passed = long_enough and enough_kept
    return CheckOutcome(name="duration", passed=passed, severity=Severity.ERROR, message=message, figures=figures)


def dropped(recording: Recording, settings: QualitySettings) -> CheckOutcome:
    """Check for samples that are missing between time stamps."""
    n_dropped = int(recording.facts.get("dropped_samples", 0))
    share = n_dropped / (recording.n_samples + n_dropped)
    message = "No sample is missing between time stamps."
    if n_dropped:
        message = (
            f"{n_dropped} samples ({share:.2%}) are missing between time stamps. Check the rig's buffers and disk."
        )
    return CheckOutcome(
        name="dropped",
        passed=not n_dropped,
        severity=Severity.ERROR if share > settings.dropped_share_refused else Severity.WARN,
        message=message,
        figures={"dropped_samples": n_dropped, "dropped_share": share},
    )


def compare_with_lake(
    lake: Lake, key: RecordingKey, metadata: ConditionedMetadata
) -> tuple[CheckOutcome, CheckOutcome]:
    """Check whether a recording matches the others of its organoid, and duplicates none."""
    others: dict[RecordingKey, tuple[str, float, int]] = {}
    for other, path in conditioned_paths(lake).items():
        # Damage to another file is reported for that recording.
        with suppress(RecordingError):
            if other != key:
                others[other] = _identity(path, path.stat().st_mtime_ns)
    layouts = Counter(identity[1:] for other, identity in others.items() if other.organoid == key.organoid)
    return _alike(layouts, metadata), _duplicate(others, metadata.samples_digest)


def _alike(layouts: Counter[tuple[float, int]], metadata: ConditionedMetadata) -> CheckOutcome:
    rate_hz, n_channels = metadata.rate_hz, len(metadata.channel_names)
    usual = max(layouts, key=lambda layout: (layouts[layout], layout), default=(rate_hz, n_channels))
    passed = usual == (rate_hz, n_channels)
    message = "Rate and number of channels match the organoid's other recordings."
    if not passed:
        message = (
            f"{n_channels} channels at {rate_hz:g} Hz, but most of the organoid's other recordings have {usual[1]} at "
            f"{usual[0]:g} Hz. One forecaster cannot be trained on both."
        )
    return CheckOutcome(
        name="alike",
        passed=passed,
        severity=Severity.WARN,
        message=message,
        figures={"usual_channels": usual[1], "usual_rate_hz": usual[0], "compared_with": layouts.total()},
    )


def _duplicate(others: dict[RecordingKey, tuple[str, float, int]], samples_digest: str) -> CheckOutcome:
    same = [str(other) for other, identity in others.items() if identity[0] == samples_digest]
    message = (
        f"It has the same samples as {', '.join(same)}. Remove one of them."
        if same
        else "No other recording has these samples."
    )
    return CheckOutcome(
        name="duplicate",
        passed=not same,
        severity=Severity.ERROR,
        message=message,
        figures={"duplicates": len(same)},
    )


@lru_cache(maxsize=10_000)
def _identity(path: Path, modified_ns: int) -> tuple[str, float, int]:
    """Return digest of the samples, rate and number of channels.

    It is cached, because opening thousands of files for each new recording takes longer than conditioning it.
    """
    recording = open_conditioned(path)
    return recording.samples_digest, recording.rate_hz, len(recording.channel_names)
