"""Checks of a recording's samples: what its figures say of each channel."""

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
    """Samples that are no numbers."""
    bad = figures.n_not_finite > 0
    n_bad = int(figures.n_not_finite.sum())
    message = "every sample is a number"
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
    """Channels that never change."""
    n_flat = int(figures.flat.sum())
    message = "every channel varies"
    if n_flat:
        message = (
            f"channels that never change (at all, or in the calibration span): {list_channels(names, figures.flat)}. "
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
    """Channels held at their extremes."""
    share = np.where(figures.flat, 0.0, figures.clipped_share)
    clipped = share > settings.clipped_share_doubted
    worst = float(share.max())
    message = "no channel is held at its extremes"
    if clipped.any():
        message = (
            f"up to {worst:.1%} of samples are held at a channel's extreme, in channels "
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
    """Voltages of a size that no unit, or another one, explains."""
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
        message, severity = f"implausible voltages in channels {list_channels(names, odd)}", Severity.WARN
    passed = not settings.check_unit_range or (factor == 1.0 and not odd.any())
    return CheckOutcome(name="unit_range", passed=passed, severity=severity, message=message, figures=said)


def _wrong_unit(stated_unit: str, factor: float | None, said: dict[str, float | int | str]) -> str:
    found = f"a mean of {said['median_mean_mv']:.4g} mV and an SD of {said['median_sd_mv']:.4g} mV are not plausible"
    if factor is None:
        return f"{found} in any unit. Check the export's scaling."
    likely = unit_of(mv_per_unit(stated_unit) * factor)
    remedy = f"Write `unit: {likely}` into the sidecar." if likely else "Check the export's scaling."
    return f"{found} for the unit {stated_unit}. Multiplied by {factor:g} they would be. {remedy}"


def noise(
    figures: SignalStatistics, names: Shaped[np.ndarray, " channel"], conditioning: ConditioningSettings
) -> CheckOutcome:
    """Channels far louder or quieter than the others."""
    judged = figures.n_not_finite + figures.flat == 0
    odd = np.zeros_like(judged)
    odd[judged] = is_outlier(figures.noise_mv[judged], conditioning.bad_channel_ratio) if judged.any() else False
    message = "channels are about equally noisy"
    if odd.any():
        message = (
            f"noise (MAD) is more than {conditioning.bad_channel_ratio:g} times that of the median channel, or less "
            f"than that fraction of it, in channels {list_channels(names, odd)}. exclude_bad_channels leaves them out."
        )
    said = {"noise_outliers": int(odd.sum())} | _spread("noise_mv", figures.noise_mv[judged])
    return CheckOutcome(name="noise", passed=not odd.any(), severity=Severity.WARN, message=message, figures=said)


def hum(figures: SignalStatistics, names: Shaped[np.ndarray, " channel"], settings: QualitySettings) -> CheckOutcome:
    """Mains in the signal."""
    # What is left of a channel that never changes is rounding, and none of it means anything.
    hum_share = np.where(figures.flat, 0.0, figures.hum_share)
    humming = hum_share > settings.hum_share_doubted
    line, worst = int(hum_share.max(axis=1).argmax()), float(hum_share.max())
    message = "no noticeable mains hum"
    if humming.any():
        message = (
            f"up to {worst:.0%} of the variance is mains hum at {LINES_HZ[line]} Hz, in channels "
            f"{list_channels(names, np.asarray(humming.any(axis=0)))}. A forecaster will learn it. Check the grounding."
        )
    shares: dict[str, float | int | str] = {
        f"largest_share_{hz}_hz": float(share.max()) for hz, share in zip(LINES_HZ, hum_share, strict=True)
    }
    return CheckOutcome(name="hum", passed=not humming.any(), severity=Severity.WARN, message=message, figures=shares)


def drift(figures: SignalStatistics, names: Shaped[np.ndarray, " channel"], settings: QualitySettings) -> CheckOutcome:
    """Means that wander off from where the z-score was taken."""
    away = np.where(figures.flat, 0.0, figures.drift_sd)
    drifting = away > settings.drift_sd_doubted
    message = "means stay near those of the calibration span"
    if drifting.any():
        message = (
            f"means drift by up to {away.max():.3g} SDs from the calibration span's, in channels "
            f"{list_channels(names, drifting)}. Let the preparation settle, trim more, or use a profile that filters."
        )
    said: dict[str, float | int | str] = {
        "largest_drift_sd": float(away.max()),
        "drifting_channels": int(drifting.sum()),
    }
    return CheckOutcome(name="drift", passed=not drifting.any(), severity=Severity.WARN, message=message, figures=said)


def _spread(what: str, values: Float64[np.ndarray, " channel"]) -> dict[str, float | int | str]:
    if not values.size:
        return {}
    return {
        f"least_{what}": float(values.min()),
        f"median_{what}": float(np.median(values)),
        f"most_{what}": float(values.max()),
    }


def list_channels(names: Shaped[np.ndarray, " channel"], chosen: Bool[np.ndarray, " channel"]) -> str:
    """The first few of the chosen channels, and how many more there are."""
    found = names[chosen]
    more = f" and {len(found) - _NAMED_CHANNELS} more" if len(found) > _NAMED_CHANNELS else ""
    return ", ".join(found[:_NAMED_CHANNELS]) + more
