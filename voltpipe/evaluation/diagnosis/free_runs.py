"""Held-out stretches that a forecaster can run free beside: a history, and what followed it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from voltpipe.evaluation.evaluation import EvaluationError
from voltpipe.evaluation.held_out import as_used, evenly, strictest_windows
from voltpipe.forecasting.coupling.coupling import SenderType
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.point_mass import PointMass, find_point_mass
from voltpipe.forecasting.roll_out import roll_out
from voltpipe.forecasting.training_rows import training_values_mv
from voltpipe.windows.window_set import WindowSet, to_mv

_SEED = 0
_MARGIN_RANGES = 10
"""A roll-out may leave the range of the training voltages by this many of its widths before it has diverged."""
_EFFECTS = {SenderType.EXCITATORY.value: 1, SenderType.INHIBITORY.value: -1}


@dataclass(frozen=True)
class FreeRuns:
    """What a forecaster imagined, and what was recorded: (run, time, channel) in mV, each beginning with `known`."""

    imagined_mv: Float32[np.ndarray, "run time channel"]
    recorded_mv: Float32[np.ndarray, "run time channel"]
    recordings: tuple[str, ...]
    """Of which recording each run is."""
    n_known: int
    """Samples at the beginning that were known, and so are alike in both."""
    rate_hz: float
    reset: PointMass | None
    """Where the voltage stands after a spike; None where spikes are not seen."""
    effects: tuple[int, ...]
    """Of each channel's spikes, as `Activity` has them."""


def free_runs(
    forecaster: Forecaster, window_set: WindowSet, *, n_samples: int, n_starts: int, most_recordings: int = 4
) -> FreeRuns | None:
    """Roll out from moments of held-out recordings of one organoid, in the strictest regime.

    Args:
        forecaster: what runs free.
        window_set: with held-out windows.
        n_samples: how long each run is.
        n_starts: in each recording at most, evenly spread.
        most_recordings: the first so many are used.

    Returns:
        None where the forecaster has no predictive distribution one sample ahead, or less than two recordings of one
        organoid hold a stretch of that length.

    Raises:
        EvaluationError: a roll-out diverges.
    """
    if forecaster.distribution is None or 1 not in forecaster.horizons:
        return None
    regime, windows = strictest_windows(forecaster, window_set)
    held_out = dict.fromkeys(window_set.index["recording"][windows].tolist())
    organoids = {number: window_set.recordings[number].organoid for number in held_out}
    first = next(iter(organoids))
    stretches_mv, names = [], []
    for number in [number for number in held_out if organoids[number] == organoids[first]][:most_recordings]:
        starts = window_set.index["start_row"][windows[window_set.index["recording"][windows] == number]]
        for start in evenly(_with_room(window_set, number, starts, window_set.context + n_samples), n_starts):
            mean_mv, sd_mv = window_set.calibration_mv(number)
            rows = slice(int(start), int(start) + window_set.context + n_samples)
            stretches_mv.append(to_mv(window_set.samples_z[rows], mean_mv, sd_mv).numpy())
            names.append(window_set.recordings[number].key)
    if len(set(names)) < 2:
        return None
    running, recorded_mv = as_used(forecaster, window_set, regime)(first), np.stack(stretches_mv)
    known_mv = recorded_mv[:, : window_set.context]
    trained_mv = training_values_mv(window_set)
    limits_mv = _limits_mv(float(trained_mv[0]), float(trained_mv[-1]))
    drawn_mv = roll_out(running, known_mv, n_samples, seed=_SEED, limits_mv=limits_mv)
    _check_bounded(drawn_mv, limits_mv, window_set.rate_hz)
    return FreeRuns(
        imagined_mv=np.concatenate([known_mv, drawn_mv], axis=1),
        recorded_mv=recorded_mv,
        recordings=tuple(names),
        n_known=window_set.context,
        rate_hz=window_set.rate_hz,
        reset=find_point_mass(trained_mv),
        effects=_effects(forecaster, window_set, organoids[first]),
    )


def _limits_mv(lowest_mv: float, highest_mv: float) -> tuple[float, float]:
    margin_mv = _MARGIN_RANGES * (highest_mv - lowest_mv)
    return lowest_mv - margin_mv, highest_mv + margin_mv


def _check_bounded(
    drawn_mv: Float32[np.ndarray, "run time channel"], limits_mv: tuple[float, float], rate_hz: float
) -> None:
    lost = np.isnan(drawn_mv).any(2)
    diverged = lost.any(1)
    if diverged.any():
        first_ms = 1000 * lost[diverged].argmax(1).min() / rate_hz
        raise EvaluationError(
            f"Roll-outs diverge in {diverged.sum()} of {len(drawn_mv)} starts, the first after {first_ms:.3g} ms. "
            f"Their voltage leaves {limits_mv[0]:.3g} to {limits_mv[1]:.3g} mV, far beyond the training data. "
            "Scores of forecasts are not affected.",
            code="roll-out-diverges",
        )


def _with_room(
    window_set: WindowSet, number: int, starts: Int64[np.ndarray, " start"], n_rows: int
) -> Int64[np.ndarray, " fewer"]:
    """The starts of windows after which so many rows were recorded without a gap, and belong to the same split."""
    spans = [(start, stop) for r, start, stop, _ in window_set.manifest.spans if r == number]
    has_room = [any(start <= row and row + n_rows <= stop for start, stop in spans) for row in starts.tolist()]
    return np.asarray(starts[np.array(has_room, bool)])


def _effects(forecaster: Forecaster, window_set: WindowSet, organoid: str) -> tuple[int, ...]:
    """By the channels' types, or where these are not known, by what the forecaster holds their spikes to do."""
    known = tuple(_EFFECTS.get(kind, 0) for kind in window_set.channel_types)
    if any(known) or organoid not in (couplings := forecaster.couplings()):
        return known
    return tuple(_EFFECTS.get(kind.value, 0) for kind in couplings[organoid].sender_types)
