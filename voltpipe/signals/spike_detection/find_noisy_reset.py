"""The search for a reset: exact, or blurred by noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.signals.noise import robust_sd
from voltpipe.signals.spike_detection.evidence import (
    MAX_AT_ONCE,
    Evidence,
    Training,
    lengths_of_stays,
    share_at_once,
)
from voltpipe.signals.spike_detection.noisy_reset import NoisyReset
from voltpipe.signals.spike_detection.reset import ExactReset, find_reset_voltage

_MIN_SAMPLES = 100
_FALL_SD = 6.0
"""A fall of this many standard deviations of the usual steps is far beyond them."""
_MIN_FALLS = 20
_MAX_LANDING_WIDTH = 0.25
"""Largest width of the landings, as a share of that of the voltage as a whole."""
_MIN_NEAR = 0.6
"""Share of the falls that must land near the reset."""
_TOLERANCE_SD = 4.0
_SD_PER_HALF = 1.349
"""Width of the narrowest half of a normal distribution in standard deviations."""
_MAX_REBOUND = 0.3
"""Largest share of falls that are next to a steep rise, as in artefacts and heartbeats."""
_MIN_SAME_STAY = 0.6
_MAX_STAY_S = 0.05
_MIN_ON_RAIL = 0.5
_LEFT_SD = 1.4
"""Spread of the voltage, in that of the landings, above which it has left the reset."""


@dataclass(frozen=True)
class _Onsets:
    """Onsets in one segment. Each has a row before it."""

    voltage_mv: Float[np.ndarray, "time channel"]
    rows: Int64[np.ndarray, " onset"]
    channels: Int64[np.ndarray, " onset"]

    def within(self, *, before: int, after: int) -> "_Onsets":
        """Return the onsets with at least these numbers of rows before and after them."""
        inside = (self.rows >= before) & (self.rows + after < len(self.voltage_mv))
        return _Onsets(self.voltage_mv, self.rows[inside], self.channels[inside])

    def voltage_at(self, n_rows: int) -> Float[np.ndarray, " onset"]:
        """Return the voltage this number of rows after each onset, in mV."""
        return np.asarray(self.voltage_mv[self.rows + n_rows, self.channels])

    def falls_mv(self) -> Float[np.ndarray, " onset"]:
        """Return the fall at each onset, in mV."""
        return np.asarray(self.voltage_at(-1) - self.voltage_at(0))


def find_exact_reset(
    training: Training, ascending_mv: Float[Tensor, " value"] | None = None
) -> tuple[ExactReset | None, Evidence]:
    """Look for the voltage at which integrate-and-fire neurons stay after a spike.

    Args:
        training: segments in which falls must lead to this voltage.
        ascending_mv: training samples in ascending order; all of the segments if not given.
    """
    if ascending_mv is None:
        ascending_mv = torch.from_numpy(np.sort(training.values_mv()))
    reset = find_reset_voltage(ascending_mv) if len(ascending_mv) >= _MIN_SAMPLES else None
    if reset is None:
        text = "There is no voltage at which 1 % of all samples lie within a thousandth of a standard deviation."
        return None, Evidence(ExactReset.kind, False, "no-exact-voltage", text)
    detector = ExactReset(reset.voltage_mv, reset.tolerance_mv)
    arrivals = [
        (np.diff(segment.numpy(), axis=0))[detector.detect(segment).onsets[1:].numpy()]
        for segment in training.segments_mv
    ]
    falls_mv = -np.concatenate(arrivals) if arrivals else np.zeros(0)
    figures = {"voltage_mv": reset.voltage_mv, "tolerance_mv": reset.tolerance_mv, "n_onsets": float(len(falls_mv))}
    usual_mv = float(np.median(np.abs(training.steps_mv()))) if training.n_samples else 0.0
    if len(falls_mv) and float(np.median(falls_mv)) <= usual_mv:
        text = f"Samples gather at {reset.voltage_mv:.2f} mV, but no falls lead there, as at the limit of a converter."
        return None, Evidence(ExactReset.kind, False, "rail", text, figures)
    text = f"Voltages return to exactly {reset.voltage_mv:.2f} mV, {len(falls_mv)} times in the training rows."
    return detector, Evidence(ExactReset.kind, True, "found", text, figures)


def find_noisy_reset(training: Training) -> tuple[NoisyReset | None, Evidence]:
    """Look for one-sample falls far beyond the usual step that land near one low voltage and stay there.

    Falls count as evidence if their landings are much narrower than the voltage as a whole and low in its distribution,
    if the voltage stays near them for the same short time, and if no steep rise is next to them.
    """
    figures: dict[str, float] = {"seconds": training.seconds}

    def refuse(code: str, text: str) -> tuple[None, Evidence]:
        return None, Evidence(NoisyReset.kind, False, code, text, figures)

    if training.n_samples < _MIN_SAMPLES:
        return refuse("too-few-samples", "There are too few training samples.")
    steps_mv = training.steps_mv()
    step_sd_mv = max(float(robust_sd(steps_mv)), float(np.mean(np.abs(steps_mv))) / 2)
    least_fall_mv = _FALL_SD * step_sd_mv
    landings_mv = np.concatenate([_landings_mv(segment, least_fall_mv) for segment in training.segments_mv])
    figures |= {"n_falls": float(len(landings_mv)), "usual_step_mv": step_sd_mv}
    if len(landings_mv) < _MIN_FALLS:
        return refuse(
            "too-few-falls",
            f"Falls of more than {least_fall_mv:.3g} mV within one sample: {len(landings_mv)}. "
            f"At least {_MIN_FALLS} are needed.",
        )
    values_mv = training.values_mv()
    reset_mv, landing_sd_mv = _mode(landings_mv)
    voltage_sd_mv = float(robust_sd(values_mv))
    figures |= {"voltage_mv": reset_mv, "landing_sd_mv": landing_sd_mv, "voltage_sd_mv": voltage_sd_mv}
    if landing_sd_mv > _MAX_LANDING_WIDTH * voltage_sd_mv:
        return refuse(
            "landings-too-wide",
            f"{len(landings_mv)} large falls land with an SD of {landing_sd_mv:.2g} mV, not near one voltage.",
        )
    if reset_mv > np.median(values_mv):
        return refuse("landings-high", f"{len(landings_mv)} large falls land at {reset_mv:.2f} mV, which is not low.")
    if np.mean(landings_mv == values_mv.min()) > _MIN_ON_RAIL:
        return refuse("rail", f"Falls end at exactly {values_mv.min():.2f} mV, the limit of the converter.")
    tolerance_mv = _TOLERANCE_SD * landing_sd_mv + _resolution_mv(landings_mv)
    near = np.abs(landings_mv - reset_mv) <= tolerance_mv
    figures |= {"tolerance_mv": tolerance_mv, "share_near": float(near.mean())}
    if near.mean() < _MIN_NEAR:
        return refuse("landings-too-wide", f"Only {near.mean():.0%} of the large falls land near {reset_mv:.2f} mV.")
    most_samples = max(2, round(_MAX_STAY_S * training.rate_hz))
    draft = NoisyReset(reset_mv, tolerance_mv, least_fall_mv, most_samples)
    states = [draft.detect(segment) for segment in training.segments_mv]
    stays = np.concatenate([lengths_of_stays(of_segment.in_spike) for of_segment in states])
    stay = float(np.median(stays)) if len(stays) else 0.0
    same = float(np.mean(np.abs(stays - stay) <= max(1.0, 0.25 * stay))) if len(stays) else 0.0
    figures |= {"stay_samples": stay, "share_same_stay": same}
    if same < _MIN_SAME_STAY or stay >= most_samples:
        return refuse("stays-differ", "The voltage stays near the landings for times that differ widely.")
    onsets = [
        _Onsets(segment.numpy(), *of_segment.onsets.numpy().nonzero())
        for segment, of_segment in zip(training.segments_mv, states, strict=True)
    ]
    rebound = _share_with_rebound(onsets, round(stay))
    figures["share_with_rise"] = rebound
    if rebound > _MAX_REBOUND:
        return refuse("steep-rises", f"{rebound:.0%} of the large falls are next to an equally steep rise.")
    falls_mv = np.concatenate([of_segment.falls_mv() for of_segment in onsets]).astype(np.float64)
    min_fall_mv = max(least_fall_mv, 2 * tolerance_mv, (least_fall_mv + float(np.quantile(falls_mv, 0.01))) / 2)
    figures |= {"min_fall_mv": min_fall_mv, "n_onsets": float((falls_mv >= min_fall_mv).sum())}
    dwell_samples = _dwell_samples(onsets, draft, landing_sd_mv, round(stay))
    detector = NoisyReset(reset_mv, tolerance_mv, min_fall_mv, dwell_samples)
    figures |= {"dwell_samples": float(dwell_samples), "share_at_once": share_at_once(detector, training, 1)}
    if figures["share_at_once"] > MAX_AT_ONCE:
        return refuse("at-once", f"{len(landings_mv)} large falls occur in most channels at once, as artefacts do.")
    text = (
        f"{figures['n_onsets']:.0f} falls of more than {min_fall_mv:.1f} mV land at {reset_mv:.2f} mV "
        f"(SD {landing_sd_mv:.2g} mV), where the voltage stays for {dwell_samples} samples."
    )
    return detector, Evidence(NoisyReset.kind, True, "found", text, figures)


def _landings_mv(segment_mv: Float[Tensor, "time channel"], least_fall_mv: float) -> Float[np.ndarray, " fall"]:
    return np.asarray(segment_mv[1:][segment_mv[:-1] - segment_mv[1:] >= least_fall_mv].numpy(), dtype=np.float64)


def _mode(landings_mv: Float[np.ndarray, " fall"]) -> tuple[float, float]:
    """Return the median of the narrowest half of the landings, and the standard deviation that its width suggests."""
    ascending = np.sort(landings_mv)
    half = len(ascending) // 2
    widths = ascending[half:] - ascending[: len(ascending) - half]
    first = int(widths.argmin())
    inside = ascending[first : first + half + 1]
    return float(np.median(inside)), float(widths[first]) / _SD_PER_HALF


def _resolution_mv(landings_mv: Float[np.ndarray, " fall"]) -> float:
    """Return 1.5 converter steps: the usual gap between different landings."""
    gaps = np.diff(np.unique(np.round(landings_mv, 4)))
    return 1.5 * float(np.median(gaps)) if len(gaps) else 1e-3


def _share_with_rebound(onsets: Sequence[_Onsets], stay: int) -> float:
    """Return the share of onsets with a rise of half the fall within two samples, right before or after the stay."""
    n_onsets, n_rebounds = 0, 0
    for of_segment in onsets:
        inner = of_segment.within(before=4, after=stay + 3)
        before = np.max([inner.voltage_at(-k) - inner.voltage_at(-k - 2) for k in (1, 2)], axis=0)
        after = np.max([inner.voltage_at(stay + k) - inner.voltage_at(stay + k - 2) for k in (0, 1, 2)], axis=0)
        n_onsets += len(inner.rows)
        n_rebounds += int((np.maximum(before, after) >= inner.falls_mv() / 2).sum())
    return n_rebounds / max(1, n_onsets)


def _dwell_samples(onsets: Sequence[_Onsets], detector: NoisyReset, landing_sd_mv: float, most: int) -> int:
    """Return the number of samples for which the voltage stays at the reset.

    It has left once its spread over all spikes exceeds that of the landings, or its median has moved.
    """
    # The tolerance also holds the converter's steps.
    scale_mv = detector.tolerance_mv - (_TOLERANCE_SD - 1) * landing_sd_mv
    for dwell in range(1, most):
        after = [of_segment.within(before=0, after=dwell).voltage_at(dwell) for of_segment in onsets]
        after_mv = np.concatenate(after).astype(np.float64)
        moved_mv = abs(float(np.median(after_mv)) - detector.voltage_mv)
        if robust_sd(after_mv) > _LEFT_SD * scale_mv or moved_mv > _LEFT_SD / 2 * scale_mv:
            return dwell
    return max(1, most)
