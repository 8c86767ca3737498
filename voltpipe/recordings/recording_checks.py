"""Checks of a recording as a whole: its time, rate and length."""

import numpy as np

from voltpipe.recordings.quality_report import CheckOutcome, Severity
from voltpipe.recordings.recording import Recording
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings


def gaps(recording: Recording) -> CheckOutcome:
    """Gaps in time."""
    starts = recording.segment_starts
    lengths = np.diff([*starts, recording.n_samples])
    n_gaps = len(starts) - 1
    message = "there is no gap in time"
    if n_gaps:
        message = f"{n_gaps} gaps in time, the first before sample {starts[1]}. No window crosses a gap."
    figures = {"gaps": n_gaps, "longest_stretch_s": float(lengths.max() / recording.rate_hz)}
    return CheckOutcome(name="gaps", passed=not n_gaps, severity=Severity.WARN, message=message, figures=figures)


def rate(recording: Recording, settings: QualitySettings) -> CheckOutcome:
    """The sampling rate."""
    passed = settings.least_rate_hz <= recording.rate_hz <= settings.highest_rate_hz
    bounds = f"{settings.least_rate_hz:g} to {settings.highest_rate_hz:g} Hz"
    message = f"{recording.rate_hz:g} Hz lies within {bounds}"
    if not passed:
        message = f"{recording.rate_hz:g} Hz is not plausible. Expected {bounds}. Give it with the hint `rate_hz`."
    figures: dict[str, float | int | str] = {"rate_hz": recording.rate_hz}
    return CheckOutcome(name="rate", passed=passed, severity=Severity.ERROR, message=message, figures=figures)


def duration(recording: Recording, conditioning: ConditioningSettings, kept_s: float | None) -> CheckOutcome:
    """The length that is left after trimming and, where `kept_s` says it, after blanking."""
    least_s = conditioning.least_samples(recording.rate_hz) / recording.rate_hz
    duration_s = recording.n_samples / recording.rate_hz
    long_enough = recording.n_samples >= conditioning.least_samples(recording.rate_hz)
    message = f"{duration_s:g} s long, {least_s:g} s are needed" + (
        "" if long_enough else ". Record longer or trim less."
    )
    figures: dict[str, float | int | str] = {"duration_s": duration_s}
    enough_kept = kept_s is None or kept_s >= conditioning.least_kept_s
    if kept_s is not None:
        figures["kept_s"] = kept_s
    if not enough_kept:
        message = (
            f"trimming and blanking leave {kept_s:g} s, {conditioning.least_kept_s:g} s are needed. Record longer."
        )
    passed = long_enough and enough_kept
    return CheckOutcome(name="duration", passed=passed, severity=Severity.ERROR, message=message, figures=figures)


def dropped(recording: Recording, settings: QualitySettings) -> CheckOutcome:
    """Samples that should be there by the time stamps, and are not."""
    n_dropped = int(recording.facts.get("dropped_samples", 0))
    share = n_dropped / (recording.n_samples + n_dropped)
    message = "no sample is missing between time stamps"
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
