"""The search for action potentials."""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from voltpipe.signals.spike_detection.action_potential import ActionPotential
from voltpipe.signals.spike_detection.evidence import MAX_AT_ONCE, Evidence, Training, share_at_once

_MIN_RISE_MV = 30.0
_MAX_WIDTH_S = 0.005
_BASE_S = 0.02
"""Time around a peak in which its base is looked for."""
_DEAD_S = 0.002
_MIN_EVENTS = 3
_EDGE_SHARE = 0.8
"""A rise or fall of this share of the height within one sample is an instantaneous edge."""
_TOP_SHARE = 0.4
"""A constant top for this share of the width is flat."""
_SHAPE_RATE_HZ = 5000.0
"""At this rate, the rise of an action potential takes several samples."""
_MAX_MIRRORED = 0.2
"""Largest number of events of the same size downward, as a share of those upward."""


@dataclass(frozen=True)
class _Events:
    """Brief events above the resting voltage."""

    peak_mv: Float64[np.ndarray, " event"]
    height_mv: Float64[np.ndarray, " event"]
    width_samples: Float64[np.ndarray, " event"]
    n_rectangular: int


def find_action_potentials(training: Training) -> tuple[ActionPotential | None, Evidence]:
    """Look for brief events that rise at least 30 mV above the resting (median) voltage and return.

    Rectangular events (bridge and stimulation artefacts, saturation) do not count, and events must not occur downward
    as well. The threshold lies halfway up, so action potentials need not overshoot 0 mV.
    """
    upward = _collected(training, 1)
    n_events, n_mirrored = len(upward.peak_mv), len(_collected(training, -1).peak_mv)
    figures = {
        "n_events": float(n_events),
        "n_downward": float(n_mirrored),
        "n_rectangular": float(upward.n_rectangular),
        "seconds": training.seconds,
    }

    def refuse(code: str, text: str) -> tuple[None, Evidence]:
        return None, Evidence(ActionPotential.kind, False, code, text, figures)

    if not n_events and upward.n_rectangular:
        return refuse(
            "rectangular",
            f"Brief events above {_MIN_RISE_MV:g} mV ({upward.n_rectangular}) look like rectangular artefacts.",
        )
    overshoots = n_events and training.rate_hz >= _SHAPE_RATE_HZ and upward.peak_mv.max() >= 0
    if n_events < (1 if overshoots else _MIN_EVENTS):
        return refuse(
            "too-few-events",
            f"Brief events that rise {_MIN_RISE_MV:g} mV above the resting voltage: {n_events}. "
            f"At least {_MIN_EVENTS} are needed.",
        )
    if n_mirrored > _MAX_MIRRORED * n_events:
        return refuse(
            "downward-too",
            f"{n_events} brief events rise {_MIN_RISE_MV:g} mV above the resting voltage, "
            f"but {n_mirrored} fall as far below it.",
        )
    threshold_mv, share_crossing = _threshold_mv(upward)
    dead_samples = max(1, round(max(_DEAD_S * training.rate_hz, float(np.median(upward.width_samples)))))
    figures |= {
        "median_height_mv": float(np.median(upward.height_mv)),
        "median_width_ms": float(np.median(upward.width_samples) / training.rate_hz * 1e3),
        "threshold_mv": threshold_mv,
        "share_crossing": share_crossing,
    }
    detector = ActionPotential(threshold_mv, dead_samples)
    figures["share_at_once"] = share_at_once(detector, training, dead_samples)
    if figures["share_at_once"] > MAX_AT_ONCE:
        return refuse("at-once", f"{n_events} brief events occur in most channels at once, as artefacts do.")
    text = (
        f"Action potentials ({n_events}) with a median height of {figures['median_height_mv']:.0f} mV "
        f"cross {threshold_mv:.1f} mV upward."
    )
    return detector, Evidence(ActionPotential.kind, True, "found", text, figures)


def _collected(training: Training, sign: int) -> _Events:
    found = [
        _events(sign * channel_mv, training.rate_hz)
        for segment in training.segments_mv
        for channel_mv in segment.numpy().T.astype(np.float64)
        if len(channel_mv)
    ]
    return _Events(
        np.concatenate([events.peak_mv for events in found]),
        np.concatenate([events.height_mv for events in found]),
        np.concatenate([events.width_samples for events in found]),
        sum(events.n_rectangular for events in found),
    )


def _events(voltage_mv: Float64[np.ndarray, " time"], rate_hz: float) -> _Events:
    resting_mv = float(np.median(voltage_mv))
    if voltage_mv.max() - resting_mv < _MIN_RISE_MV:
        return _Events(np.zeros(0), np.zeros(0), np.zeros(0), 0)
    from scipy.signal import find_peaks

    with warnings.catch_warnings():
        # A plateau longer than the base has no prominence, and so is no event.
        warnings.filterwarnings("ignore", "some peaks have a", RuntimeWarning)
        peaks, found = find_peaks(
            voltage_mv,
            height=resting_mv + _MIN_RISE_MV,
            prominence=_MIN_RISE_MV,
            width=(None, max(1.5, _MAX_WIDTH_S * rate_hz)),
            rel_height=0.5,
            plateau_size=1,
            wlen=max(5, round(2 * _BASE_S * rate_hz) | 1),
        )
    height_mv, width, top = found["prominences"], found["widths"], found["plateau_sizes"]
    rise_mv = _largest_step_mv(voltage_mv, found["left_bases"], peaks, 1)
    fall_mv = _largest_step_mv(voltage_mv, peaks, found["right_bases"], -1)
    is_shaped = rate_hz >= _SHAPE_RATE_HZ
    sharp = np.maximum(rise_mv, fall_mv) if is_shaped else np.minimum(rise_mv, fall_mv)
    rectangular = (sharp >= _EDGE_SHARE * height_mv) & (is_shaped | (width >= 2.5))
    rectangular |= (top >= 3) & (top >= _TOP_SHARE * width)
    real = ~rectangular
    return _Events(voltage_mv[peaks][real], height_mv[real], width[real], int(rectangular.sum()))


def _largest_step_mv(
    voltage_mv: Float64[np.ndarray, " time"], first: np.ndarray, last: np.ndarray, sign: int
) -> Float64[np.ndarray, " event"]:
    steps = [np.max(sign * np.diff(voltage_mv[a : b + 1]), initial=0.0) for a, b in zip(first, last, strict=True)]
    return np.asarray(steps, dtype=np.float64)


def _threshold_mv(events: _Events) -> tuple[float, float]:
    """Return the threshold that most events clearly cross, and their share; halfway up if several are as good."""
    halfway_mv = events.peak_mv - events.height_mv / 2
    candidates: Float[np.ndarray, " candidate"] = np.unique(np.quantile(halfway_mv, np.linspace(0, 1, 101)))
    margin_mv = 0.2 * events.height_mv
    low_mv, high_mv = events.peak_mv - events.height_mv + margin_mv, events.peak_mv - margin_mv
    crossed = ((candidates[:, None] >= low_mv) & (candidates[:, None] <= high_mv)).mean(1)
    best = candidates[crossed == crossed.max()]
    return float(best[np.abs(best - np.median(halfway_mv)).argmin()]), float(crossed.max())
