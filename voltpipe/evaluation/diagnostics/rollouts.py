"""Roll-outs, and how long they follow the recorded voltage."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from voltpipe.evaluation.bootstrap import times_drawn
from voltpipe.evaluation.held_out_windows import evenly_spaced, forecaster_for_regime, strictest_regime_windows
from voltpipe.evaluation.results import EvaluationError
from voltpipe.forecasting.connectivity.connectivity import SenderType
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.inference.rollout import roll_out
from voltpipe.signals.spike_detection import ResetVoltage, find_reset_voltage, is_at_reset, spike_onsets
from voltpipe.windows.split_segments import training_samples_mv
from voltpipe.windows.window_set import WindowSet, to_mv

_SEED = 0
_MARGIN_RANGES = 10
"""A roll-out may leave the range of the training voltages by this many of its widths before it has diverged."""
_EFFECTS = {SenderType.EXCITATORY.value: 1, SenderType.INHIBITORY.value: -1}


@dataclass(frozen=True)
class Rollouts:
    """Roll-outs and recordings (run, time, channel) in mV, each with `known` samples first."""

    imagined_mv: Float32[np.ndarray, "run time channel"]
    recorded_mv: Float32[np.ndarray, "run time channel"]
    recordings: tuple[str, ...]
    """Recording of each run."""
    n_known: int
    """Number of known samples at the beginning, equal in both."""
    rate_hz: float
    reset: ResetVoltage | None
    """Reset voltage; None if spikes are not detected."""
    effects: tuple[int, ...]
    """Effect of each channel, as in `Activity`."""


def make_rollouts(
    forecaster: Forecaster, window_set: WindowSet, *, n_samples: int, n_starts: int, most_recordings: int = 4
) -> Rollouts | None:
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
    regime, windows = strictest_regime_windows(forecaster, window_set)
    held_out = dict.fromkeys(window_set.index["recording"][windows].tolist())
    organoids = {number: window_set.recordings[number].organoid for number in held_out}
    first = next(iter(organoids))
    stretches_mv, names = [], []
    for number in [number for number in held_out if organoids[number] == organoids[first]][:most_recordings]:
        starts = window_set.index["start_row"][windows[window_set.index["recording"][windows] == number]]
        for start in evenly_spaced(_with_room(window_set, number, starts, window_set.context + n_samples), n_starts):
            mean_mv, sd_mv = window_set.calibration_mv(number)
            rows = slice(int(start), int(start) + window_set.context + n_samples)
            stretches_mv.append(to_mv(window_set.samples_z[rows], mean_mv, sd_mv).numpy())
            names.append(window_set.recordings[number].key)
    if len(set(names)) < 2:
        return None
    running, recorded_mv = forecaster_for_regime(forecaster, window_set, regime)(first), np.stack(stretches_mv)
    known_mv = recorded_mv[:, : window_set.context]
    trained_mv = training_samples_mv(window_set)
    limits_mv = _limits_mv(float(trained_mv[0]), float(trained_mv[-1]))
    drawn_mv = roll_out(running, known_mv, n_samples, seed=_SEED, limits_mv=limits_mv)
    _check_bounded(drawn_mv, limits_mv, window_set.rate_hz)
    return Rollouts(
        imagined_mv=np.concatenate([known_mv, drawn_mv], axis=1),
        recorded_mv=recorded_mv,
        recordings=tuple(names),
        n_known=window_set.context,
        rate_hz=window_set.rate_hz,
        reset=find_reset_voltage(trained_mv),
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
    """Return the effects by channel type, or by the estimated connectivity if types are unknown."""
    known = tuple(_EFFECTS.get(kind, 0) for kind in window_set.channel_types)
    if any(known) or organoid not in (couplings := forecaster.couplings()):
        return known
    return tuple(_EFFECTS.get(kind.value, 0) for kind in couplings[organoid].sender_types)


DISTANCE, SPIKES, LEAD = "distance", "spike F1", "nearer to the truth"
_RUN_MS, _MOST_SAMPLES = 100.0, 400
_STARTS = 8
_SPIKES_MS = (5.0, 10.0, 20.0, 50.0)
_TOLERANCE_MS = 2.0
_RESAMPLES, _INTERVAL = 1000, (0.025, 0.975)
_COLUMNS = (
    "measure",
    "unit",
    "time_ms",
    "own",
    "own_low",
    "own_high",
    "shuffled",
    "shuffled_low",
    "shuffled_high",
    "n_starts",
)

PerStart = Float64[np.ndarray, "start value"]


def rollout_horizon(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Compare roll-outs from several times of held-out recordings with what followed (see `rollout_horizon_table`).

    The table is empty if the forecaster has no roll-outs, or fewer than two recordings of one organoid are held out.
    """
    n_samples = min(round(_RUN_MS * window_set.rate_hz / 1000), _MOST_SAMPLES)
    runs = make_rollouts(forecaster, window_set, n_samples=n_samples, n_starts=_STARTS)
    return rollout_horizon_table(runs) if runs else pd.DataFrame(columns=list(_COLUMNS))


def rollout_horizon_table(runs: Rollouts) -> pd.DataFrame:
    """Measure the distance of roll-outs to the truth, and to another recording (`shuffled`), with 95 % intervals.

    `distance` is the root mean squared difference over channels, `time_ms` after the start. `spike F1` is 2 TP / (2 TP
    + FP + FN) over all spikes so far. A true positive is a spike within 2 ms of a recorded spike of its channel; each
    is used once. It is left out if there are no spikes. `nearer to the truth` is the time in ms for which the distance
    to the truth stays below that to another recording, at most the length of the runs. Intervals are bootstraps over
    starts.
    """
    others = _of_other_recordings(runs.recordings)
    weights = _weights(len(runs.recordings))
    rows = [*_distances(runs, others, weights), *(_spikes(runs, others, weights) if runs.reset else [])]
    return pd.DataFrame([(*row, len(others)) for row in rows], columns=list(_COLUMNS))


def _of_other_recordings(recordings: tuple[str, ...]) -> Int64[np.ndarray, " start"]:
    """For each start one of another recording, for the second start of a recording the second of others, and so on."""
    chosen = []
    for here, recording in enumerate(recordings):
        others = [there for there, other in enumerate(recordings) if other != recording]
        chosen.append(others[recordings[:here].count(recording) % len(others)])
    return np.array(chosen)


def _weights(n_starts: int) -> Float64[np.ndarray, "resample start"]:
    """Count how often each start is drawn: once each in the first row, at random in the others."""
    return np.concatenate([np.ones((1, n_starts)), times_drawn(n_starts, _RESAMPLES)])


def _distances(
    runs: Rollouts, others: Int64[np.ndarray, " start"], weights: Float64[np.ndarray, "resample start"]
) -> Iterator[tuple[object, ...]]:
    imagined_mv, recorded_mv = (each[:, runs.n_known :] for each in (runs.imagined_mv, runs.recorded_mv))
    own, shuffled = (
        np.sqrt(weights @ ((imagined_mv - truth_mv) ** 2).mean(2, dtype=np.float64) / weights.sum(1, keepdims=True))
        for truth_mv in (recorded_mv, recorded_mv[others])
    )
    ms = 1000 / runs.rate_hz
    for sample in range(own.shape[1]):
        yield DISTANCE, "mV", (sample + 1) * ms, *_interval(own[:, sample]), *_interval(shuffled[:, sample])
    # The first sample at which it is no nearer; behind the last one where there is none.
    no_nearer = np.concatenate([own >= shuffled, np.ones((len(own), 1), bool)], axis=1)
    lead_ms = no_nearer.argmax(1) * ms
    yield LEAD, "ms", own.shape[1] * ms, *_interval(lead_ms), np.nan, np.nan, np.nan


def _spikes(
    runs: Rollouts, others: Int64[np.ndarray, " start"], weights: Float64[np.ndarray, "resample start"]
) -> Iterator[tuple[object, ...]]:
    imagined, recorded = _spike_trains(runs, runs.imagined_mv), _spike_trains(runs, runs.recorded_mv)
    tolerance = round(_TOLERANCE_MS * runs.rate_hz / 1000)
    for until_ms in _SPIKES_MS:
        stop = round(until_ms * runs.rate_hz / 1000)
        if stop > imagined.shape[1] or not (imagined[:, :stop].any() and recorded[:, :stop].any()):
            continue
        own, shuffled = (
            weights @ _matches(imagined[:, :stop], truth[:, :stop], tolerance) for truth in (recorded, recorded[others])
        )
        f1 = [2 * counts[:, 0] / np.maximum(counts[:, 1], 1) for counts in (own, shuffled)]
        yield SPIKES, "", until_ms, *_interval(f1[0]), *_interval(f1[1])


def _spike_trains(runs: Rollouts, voltage_mv: np.ndarray) -> Bool[np.ndarray, "start time channel"]:
    """From the first sample that was not known on."""
    assert runs.reset is not None
    at_reset = is_at_reset(torch.from_numpy(voltage_mv), runs.reset.voltage_mv, runs.reset.tolerance_mv)
    return spike_onsets(at_reset).numpy()[:, runs.n_known :]


def _matches(
    imagined: Bool[np.ndarray, "start time channel"], recorded: Bool[np.ndarray, "start time channel"], tolerance: int
) -> Float64[np.ndarray, "start 2"]:
    """Count matching spikes and all spikes of each start."""
    matching = [
        sum(n_matching(np.flatnonzero(a), np.flatnonzero(b), tolerance) for a, b in zip(run.T, truth.T, strict=True))
        for run, truth in zip(imagined, recorded, strict=True)
    ]
    return np.stack([np.array(matching), imagined.sum((1, 2)) + recorded.sum((1, 2))], axis=1).astype(np.float64)


def n_matching(a: Int64[np.ndarray, " _"], b: Int64[np.ndarray, " _"], tolerance: int) -> int:
    """Count the times of one train that lie within a tolerance of the other, each used once."""
    here = there = matching = 0
    while here < len(a) and there < len(b):
        apart = a[here] - b[there]
        matching += abs(apart) <= tolerance
        here, there = here + (apart <= tolerance), there + (apart >= -tolerance)
    return int(matching)


def _interval(values: Float64[np.ndarray, " resample"]) -> tuple[float, float, float]:
    """Return the first value, and the interval of the others."""
    low, high = np.quantile(values[1:], _INTERVAL)
    return float(values[0]), float(low), float(high)
