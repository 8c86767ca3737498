"""The search for extracellular spikes."""

import math

import numpy as np
from jaxtyping import Float64

from voltpipe.signals.noise import robust_sd
from voltpipe.signals.spike_detection.evidence import MAX_AT_ONCE, Evidence, Training, share_at_once
from voltpipe.signals.spike_detection.extracellular import Extracellular, band_passed_mv, filter_taps

MIN_RATE_HZ = 5000.0
_DEAD_S = 0.001
_MIN_EVENTS = 20
_MIN_RATIO = 3.0
"""Least number of negative peaks for each positive one of the same size."""


def find_extracellular(training: Training, threshold_sd: float = 5.0) -> tuple[Extracellular | None, Evidence]:
    """Look for negative peaks that exceed the noise of the band-passed voltage.

    Noise peaks are positive as often as negative, spikes are not. The number expected by chance is that of normal noise
    (Rice, Bell System Technical Journal, 1944). Events at the same time in most channels are artefacts.
    """
    figures: dict[str, float] = {"seconds": training.seconds}

    def refuse(code: str, text: str) -> tuple[None, Evidence]:
        return None, Evidence(Extracellular.kind, False, code, text, figures)

    if training.rate_hz < MIN_RATE_HZ:
        return refuse(
            "rate-too-low",
            f"Extracellular spikes last 1 ms, so they need {MIN_RATE_HZ:g} Hz; the rate is {training.rate_hz:g} Hz.",
        )
    skip = len(filter_taps(training.rate_hz))
    filtered = [band_passed_mv(s.numpy(), training.rate_hz)[skip:] for s in training.segments_mv if len(s) > 2 * skip]
    if not filtered:
        return refuse("too-few-samples", "There are too few training samples.")
    together = np.concatenate(filtered)
    noise_mv = robust_sd(together)
    if not (noise_mv > 0).any():
        return refuse("no-noise", "The band-passed voltage is constant.")
    thresholds_mv = np.where(noise_mv > 0, threshold_sd * noise_mv, np.inf)
    dead = max(1, round(_DEAD_S * training.rate_hz))
    negative, positive = 0, 0
    for part in filtered:
        signs = np.concatenate([_signs_of_peaks(*channel, dead) for channel in zip(part.T, thresholds_mv, strict=True)])
        negative += int((signs < 0).sum())
        positive += int((signs > 0).sum())
    steps = np.diff(together, axis=0)
    share = robust_sd(steps)[noise_mv > 0] / noise_mv[noise_mv > 0]
    chance = float(len(together) * share.sum() / (2 * math.pi) * math.exp(-(threshold_sd**2) / 2))
    figures |= {
        "n_negative": float(negative),
        "n_positive": float(positive),
        "n_by_chance": chance,
        "threshold_sd": threshold_sd,
        "median_noise_uv": float(np.median(noise_mv) * 1e3),
    }
    counts = f"{negative} negative and {positive} positive peaks exceed {threshold_sd:g} noise levels"
    if negative < max(_MIN_EVENTS, 3 * chance):
        return refuse("too-few-events", f"{counts}; {chance:.0f} negative ones are expected by chance.")
    if negative < _MIN_RATIO * positive:
        return refuse("upward-too", f"{counts}; spikes are mostly negative.")
    usable_mv = np.where(np.isfinite(thresholds_mv), thresholds_mv, np.finfo(np.float64).max)
    detector = Extracellular(training.rate_hz, tuple(usable_mv.tolist()), dead)
    figures["share_at_once"] = share_at_once(detector, training, dead)
    if figures["share_at_once"] > MAX_AT_ONCE:
        return refuse("at-once", f"{counts}, most of them in most channels at once, as artefacts are.")
    text = f"{counts}; {chance:.0f} negative ones are expected by chance."
    return detector, Evidence(Extracellular.kind, True, "found", text, figures)


def _signs_of_peaks(
    filtered_mv: Float64[np.ndarray, " time"], threshold_mv: np.float64, dead: int
) -> Float64[np.ndarray, " peak"]:
    """Return the sign of each event's largest peak. The band-pass gives each spike peaks of both signs."""
    if not np.isfinite(threshold_mv):
        return np.zeros(0)
    from scipy.signal import find_peaks

    peaks, _ = find_peaks(np.abs(filtered_mv), height=threshold_mv, distance=2 * dead)
    return np.asarray(np.sign(filtered_mv[peaks]))
