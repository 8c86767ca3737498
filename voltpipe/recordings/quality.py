"""What must be true of a recording before anything is learned from it; each check with its figures."""

from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Shaped
from pydantic import Field

from voltpipe.recordings.plausible_range import is_plausible, likely_factor
from voltpipe.recordings.recording import Recording, RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.signal_figures import SignalFigures, measure
from voltpipe.recordings.units import mv_per_unit, unit_of
from voltpipe.settings import Settings

CHECKS = {
    "finite": "Every sample is a number.",
    "gaps": "Time runs through without a gap; no window crosses one.",
    "flat": "Every channel varies, in its calibration span too.",
    "clipping": "No channel is held at its lowest or highest value.",
    "rate": "The sampling rate is plausible.",
    "unit_range": "Voltages are of a size that fits their unit.",
    "duration": "The recording is long enough after trimming.",
    "duplicate": "No other recording has the same samples.",
}
"""Every check by name, with what is true where it passes."""

_NAMED_CHANNELS = 5


class Severity(StrEnum):
    """What a failed check means."""

    ERROR = "error"
    """The recording is not used."""
    WARN = "warn"
    """It is used, but someone should look."""


class CheckOutcome(Settings):
    """What one check found."""

    name: str
    passed: bool
    severity: Severity = Field(description="what it means if the check failed")
    message: str
    figures: dict[str, float | int | str] = Field(default_factory=dict)


class QualityReport(Settings):
    """All checks of one recording."""

    checks: tuple[CheckOutcome, ...]

    @property
    def errors(self) -> tuple[CheckOutcome, ...]:
        """The checks because of which the recording is not used."""
        return tuple(each for each in self.checks if not each.passed and each.severity is Severity.ERROR)

    def with_check(self, check: CheckOutcome) -> "QualityReport":
        """The report with one more check."""
        return QualityReport(checks=(*self.checks, check))

    def demand(self) -> None:
        """Refuse a recording with errors.

        Raises:
            RecordingError: names every error.
        """
        if self.errors:
            raise RecordingError("; ".join(f"{each.name}: {each.message}" for each in self.errors))


def check_quality(recording: Recording, settings: QualitySettings, conditioning: ConditioningSettings) -> QualityReport:
    """Check a raw recording in one pass; what it is to be conditioned with decides the least duration.

    Whether it duplicates another recording is checked where the lake is known (`voltpipe.recordings.raw`).
    """
    first = conditioning.first_sample(recording.rate_hz)
    figures = measure(recording, first, first + conditioning.calibration_samples(recording.rate_hz))
    names = np.array(recording.channel_names)
    return QualityReport(
        checks=(
            _finite(recording, figures, names),
            _gaps(recording),
            _flat(figures, names),
            _clipping(figures, names, settings),
            _rate(recording, settings),
            _unit_range(recording, figures, names, settings),
            _duration(recording, conditioning),
        )
    )


def _named(names: Shaped[np.ndarray, " channel"], chosen: Bool[np.ndarray, " channel"]) -> str:
    found = names[chosen]
    more = f" and {len(found) - _NAMED_CHANNELS} more" if len(found) > _NAMED_CHANNELS else ""
    return ", ".join(found[:_NAMED_CHANNELS]) + more


def _finite(recording: Recording, figures: SignalFigures, names: Shaped[np.ndarray, " channel"]) -> CheckOutcome:
    bad = figures.n_not_finite > 0
    n_bad = int(figures.n_not_finite.sum())
    message = "every sample is a number"
    if n_bad:
        first_s = figures.first_not_finite[bad].min() / recording.rate_hz
        message = (
            f"{n_bad} samples are NaN or infinite, the first at {first_s:g} s, in channels {_named(names, bad)}; "
            "leave these out with the hint `exclude_channels`, or export the recording without them"
        )
    return CheckOutcome(
        name="finite",
        passed=not n_bad,
        severity=Severity.ERROR,
        message=message,
        figures={"samples_not_finite": n_bad, "channels_not_finite": int(bad.sum())},
    )


def _gaps(recording: Recording) -> CheckOutcome:
    starts = recording.segment_starts
    lengths = np.diff([*starts, recording.n_samples])
    n_gaps = len(starts) - 1
    message = "time runs through without a gap"
    if n_gaps:
        message = f"{n_gaps} gaps in time, the first before sample {starts[1]}; no window will cross one"
    figures = {"gaps": n_gaps, "longest_stretch_s": float(lengths.max() / recording.rate_hz)}
    return CheckOutcome(name="gaps", passed=not n_gaps, severity=Severity.WARN, message=message, figures=figures)


def _flat(figures: SignalFigures, names: Shaped[np.ndarray, " channel"]) -> CheckOutcome:
    n_flat = int(figures.flat.sum())
    message = "every channel varies"
    if n_flat:
        message = (
            f"channels that never change (at all, or in the calibration span): {_named(names, figures.flat)}; "
            "leave them out with the hint `exclude_channels`"
        )
    return CheckOutcome(
        name="flat",
        passed=not n_flat,
        severity=Severity.ERROR,
        message=message,
        figures={"flat_channels": n_flat, "least_sd_mv": float(figures.sd_mv.min())},
    )


def _clipping(figures: SignalFigures, names: Shaped[np.ndarray, " channel"], settings: QualitySettings) -> CheckOutcome:
    share = np.where(figures.flat, 0.0, figures.clipped_share)
    clipped = share > settings.clipped_share_doubted
    worst = float(share.max())
    message = "no channel is held at its extremes"
    if clipped.any():
        message = (
            f"up to {worst:.1%} of samples are held at a channel's extreme, in channels {_named(names, clipped)}; "
            "lower the gain, or leave these out with the hint `exclude_channels`"
        )
    return CheckOutcome(
        name="clipping",
        passed=not clipped.any(),
        severity=Severity.ERROR if worst > settings.clipped_share_refused else Severity.WARN,
        message=message,
        figures={"largest_clipped_share": worst, "clipped_channels": int(clipped.sum())},
    )


def _rate(recording: Recording, settings: QualitySettings) -> CheckOutcome:
    passed = settings.least_rate_hz <= recording.rate_hz <= settings.highest_rate_hz
    bounds = f"{settings.least_rate_hz:g} to {settings.highest_rate_hz:g} Hz"
    message = f"{recording.rate_hz:g} Hz lies within {bounds}"
    if not passed:
        message = f"{recording.rate_hz:g} Hz is not plausible, expected {bounds}; say it with the hint `rate_hz`"
    figures: dict[str, float | int | str] = {"rate_hz": recording.rate_hz}
    return CheckOutcome(name="rate", passed=passed, severity=Severity.ERROR, message=message, figures=figures)


def _unit_range(
    recording: Recording, figures: SignalFigures, names: Shaped[np.ndarray, " channel"], settings: QualitySettings
) -> CheckOutcome:
    judged = np.isfinite(figures.low_mv) & ~figures.flat
    said: dict[str, float | int | str] = {}
    factor: float | None = 1.0
    odd = np.zeros_like(judged)
    if judged.any():
        mean_mv, sd_mv = figures.mean_mv[judged], figures.sd_mv[judged]
        factor = likely_factor(mean_mv, sd_mv)
        odd = judged & ~is_plausible(figures.mean_mv, figures.sd_mv)
        said = {
            "lowest_mv": float(figures.low_mv[judged].min()),
            "highest_mv": float(figures.high_mv[judged].max()),
            "median_mean_mv": float(np.median(mean_mv)),
            "median_sd_mv": float(np.median(sd_mv)),
        }
    message, severity = "voltages are of a plausible size", Severity.ERROR
    if factor != 1.0:
        message = _wrong_unit(str(recording.facts.get("unit", "mV")), factor, said)
    elif odd.any():
        message, severity = f"implausible voltages in channels {_named(names, odd)}", Severity.WARN
    passed = not settings.check_unit_range or (factor == 1.0 and not odd.any())
    return CheckOutcome(name="unit_range", passed=passed, severity=severity, message=message, figures=said)


def _wrong_unit(stated_unit: str, factor: float | None, said: dict[str, float | int | str]) -> str:
    found = f"a mean of {said['median_mean_mv']:.4g} mV and an SD of {said['median_sd_mv']:.4g} mV are not plausible"
    if factor is None:
        return f"{found} in any unit; check the export's scaling"
    likely = unit_of(mv_per_unit(stated_unit) * factor)
    remedy = f"say `unit: {likely}` in the sidecar" if likely else "check the export's scaling"
    return f"{found}, multiplied by {factor:g} they would be; the unit was taken to be {stated_unit}: {remedy}"


def _duration(recording: Recording, conditioning: ConditioningSettings) -> CheckOutcome:
    least_s = conditioning.least_samples(recording.rate_hz) / recording.rate_hz
    duration_s = recording.n_samples / recording.rate_hz
    passed = recording.n_samples >= conditioning.least_samples(recording.rate_hz)
    message = f"{duration_s:g} s long, {least_s:g} s are needed" + ("" if passed else "; record longer or trim less")
    figures: dict[str, float | int | str] = {"duration_s": duration_s}
    return CheckOutcome(name="duration", passed=passed, severity=Severity.ERROR, message=message, figures=figures)
