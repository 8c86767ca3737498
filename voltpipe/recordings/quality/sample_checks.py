"""Checks of a recording's samples, by channel."""

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from voltpipe.recordings.quality.quality_report import CheckOutcome, Severity
from voltpipe.recordings.quality.signal_statistics import SignalStatistics
from voltpipe.recordings.recording import Recording
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.units import is_plausible, likely_factor, mv_per_unit, unit_of
from voltpipe.signals.noise import LINES_HZ, is_outlier

_NAMED_CHANNELS = 5


def finite(recording: Recording, figures: SignalStatistics, names: Shaped[np.ndarray, " channel"]) -> CheckOutcome:
    """Check for samples that are NaN or infinite."""
    bad = figures.n_not_finite > 0
    n_bad = int(figures.n_not_finite.sum())
    message = "Every sample is a number."
    if n_bad:
        first_s = figures.first_not_finite[bad].min() / recording.rate_hz
        message = (
            f"{n_bad} samples are NaN or infinite, the first at {first_s:g} s, in channels "
            f"{list_channels(names, bad)}. "
            "Leave these out with the hint `exclude_channels`, or export the recording without them."
        )
    return CheckOutcome(
        name="finite",
        passed=not n_bad,
        severity=Severity.ERROR,
        message=message,
        figures={"samples_not_finite": n_bad, "channels_not_finite": int(bad.sum())},
    )


def flat(figures: SignalStatistics, names: Shaped[np.ndarray, " channel"]) -> CheckOutcome:
    """Check for channels that never change."""
    n_flat = int(figures.flat.sum())
    message = "Every channel varies."
    if n_flat:
        message = (
            f"Channels that never change (at all, or in the calibration span): {list_channels(names, figures.flat)}. "
            "Leave them out with the hint `exclude_channels`, or condition with exclude_bad_channels."
        )
    return CheckOutcome(
        name="flat",
        passed=not n_flat,
        severity=Severity.ERROR,
        message=message,
        figures={"flat_channels": n_flat, "least_sd_mv": float(figures.sd_mv.min())},
    )


def clipping(
    figures: SignalStatistics, names: Shaped[np.ndarray, " channel"], settings: QualitySettings
) -> CheckOutcome:
    """Check for clipped channels."""
    share = np.where(figures.flat, 0.0, figures.clipped_share)
    clipped = share > settings.clipped_share_doubted
    worst = float(share.max())
    message = "No channel is clipped."
    if clipped.any():
        message = (
            f"Up to {worst:.1%} of samples are clipped at a channel's extreme, in channels "
            f"{list_channels(names, clipped)}. "
            "Lower the gain, or leave these out with the hint `exclude_channels`."
        )
    return CheckOutcome(
        name="clipping",
        passed=not clipped.any(),
        severity=Severity.ERROR if worst > settings.clipped_share_refused else Severity.WARN,
        message=message,
        figures={"largest_clipped_share": worst, "clipped_channels": int(clipped.sum())},
    )


def unit_range(
    recording: Recording, figures: SignalStatistics, names: Shaped[np.ndarray, " channel"], settings: QualitySettings
) -> CheckOutcome:
    """Check whether the voltages are plausible for their unit."""
    judged = np.isfinite(figures.low_mv) & ~figures.flat
    measured: dict[str, float | int | str] = {}
    factor: float | None = 1.0
    odd = np.zeros_like(judged)
    if judged.any():
        mean_mv, sd_mv = figures.mean_mv[judged], figures.sd_mv[judged]
        factor = likely_factor(mean_mv, sd_mv)
        odd = judged & ~is_plausible(figures.mean_mv, figures.sd_mv)
        measured = {
            "lowest_mv": float(figures.low_mv[judged].min()),
            "highest_mv": float(figures.high_mv[judged].max()),
            "median_mean_mv": float(np.median(mean_mv)),
            "median_sd_mv": float(np.median(sd_mv)),
        }
    message, severity = "The voltages are plausible.", Severity.ERROR
    if factor != 1.0:
        message = _wrong_unit(str(recording.facts.get("unit", "mV")), factor, measured)
    elif odd.any():
        message, severity = f"Implausible voltages in channels {list_channels(names, odd)}.", Severity.WARN
    passed = not settings.check_unit_range or (factor == 1.0 and not odd.any())
    return CheckOutcome(name="unit_range", passed=passed, severity=severity, message=message, figures=measured)


def _wrong_unit(stated_unit: str, factor: float | None, measured: dict[str, float | int | str]) -> str:
    mean_mv, sd_mv = measured["median_mean_mv"], measured["median_sd_mv"]
    found = f"A mean of {mean_mv:.4g} mV and an SD of {sd_mv:.4g} mV are not plausible"
    if factor is None:
        return f"{found} in any unit. Check the export's scaling."
    likely = unit_of(mv_per_unit(stated_unit) * factor)
    remedy = f"Write `unit: {likely}` into the sidecar." if likely else "Check the export's scaling."
    return f"{found} for the unit {stated_unit}. Multiplied by {factor:g} they would be. {remedy}"


def noise(
    figures: SignalStatistics, names: Shaped[np.ndarray, " channel"], conditioning: ConditioningSettings
) -> CheckOutcome:
    """Check for channels that are much noisier or quieter than the others."""
    judged = figures.n_not_finite + figures.flat == 0
    odd = np.zeros_like(judged)
    odd[judged] = is_outlier(figures.noise_mv[judged], conditioning.bad_channel_ratio) if judged.any() else False
    message = "All channels are similarly noisy."
    if odd.any():
        message = (
            f"Noise (MAD) is more than {conditioning.bad_channel_ratio:g} times that of the median channel, or less "
            f"than that fraction of it, in channels {list_channels(names, odd)}. exclude_bad_channels leaves them out."
        )
    measured = {"noise_outliers": int(odd.sum())} | _spread("noise_mv", figures.noise_mv[judged])
    return CheckOutcome(name="noise", passed=not odd.any(), severity=Severity.WARN, message=message, figures=measured)


def hum(figures: SignalStatistics, names: Shaped[np.ndarray, " channel"], settings: QualitySettings) -> CheckOutcome:
    """Check for mains hum."""
    # The remaining variance of a flat channel is rounding error.
    hum_share = np.where(figures.flat, 0.0, figures.hum_share)
    humming = hum_share > settings.hum_share_doubted
    line, worst = int(hum_share.max(axis=1).argmax()), float(hum_share.max())
    message = "No noticeable mains hum."
    if humming.any():
        message = (
            f"Up to {worst:.0%} of the variance is mains hum at {LINES_HZ[line]} Hz, in channels "
            f"{list_channels(names, np.asarray(humming.any(axis=0)))}. A forecaster will learn it. Check the grounding."
        )
    shares: dict[str, float | int | str] = {
        f"largest_share_{hz}_hz": float(share.max()) for hz, share in zip(LINES_HZ, hum_share, strict=True)
    }
    return CheckOutcome(name="hum", passed=not humming.any(), severity=Severity.WARN, message=message, figures=shares)


def drift(figures: SignalStatistics, names: Shaped[np.ndarray, " channel"], settings: QualitySettings) -> CheckOutcome:
    """Check for means that drift from the calibration span."""
    away = np.where(figures.flat, 0.0, figures.drift_sd)
    drifting = away > settings.drift_sd_doubted
    message = "Means stay near those of the calibration span."
    if drifting.any():
        message = (
            f"Means drift by up to {away.max():.3g} SDs from the calibration span's, in channels "
            f"{list_channels(names, drifting)}. Let the preparation settle, trim more, or use a profile that filters."
        )
    measured: dict[str, float | int | str] = {
        "largest_drift_sd": float(away.max()),
        "drifting_channels": int(drifting.sum()),
    }
    return CheckOutcome(
        name="drift", passed=not drifting.any(), severity=Severity.WARN, message=message, figures=measured
    )


def _spread(what: str, values: Float64[np.ndarray, " channel"]) -> dict[str, float | int | str]:
    if not values.size:
        return {}
    return {
        f"least_{what}": float(values.min()),
        f"median_{what}": float(np.median(values)),
        f"most_{what}": float(values.max()),
    }


def list_channels(names: Shaped[np.ndarray, " channel"], chosen: Bool[np.ndarray, " channel"]) -> str:
    """List the first of the chosen channels, and the number of others."""
    found = names[chosen]
    more = f" and {len(found) - _NAMED_CHANNELS} more" if len(found) > _NAMED_CHANNELS else ""
    return ", ".join(found[:_NAMED_CHANNELS]) + more
