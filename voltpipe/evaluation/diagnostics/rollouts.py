"""Roll-outs from held-out recordings, and how long they stay nearer to the truth than to other recordings."""

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

DISTANCE, SPIKES, LEAD = "distance", "spike F1", "nearer to the truth"
_SEED = 0
_MARGIN_RANGES = 10
"""Distance from the range of training voltages, in widths of that range, beyond which a roll-out has diverged."""
_EFFECTS = {SenderType.EXCITATORY.value: 1, SenderType.INHIBITORY.value: -1}
_ROLLOUT_MS, _MOST_SAMPLES = 100.0, 400
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


@dataclass(frozen=True)
class Rollouts:
    """Roll-outs of a forecaster and the recorded voltages, in mV. Each begins with the same known samples."""

    imagined_mv: Float32[np.ndarray, "rollout time channel"]
    recorded_mv: Float32[np.ndarray, "rollout time channel"]
    recordings: tuple[str, ...]
    """Key of the recording of each roll-out."""
    n_known: int
    """Number of known samples at the beginning."""
    rate_hz: float
    reset: ResetVoltage | None
    """Voltage to which a neuron returns after a spike; None if spikes cannot be detected."""
    effects: tuple[int, ...]
    """Effect of each channel's spikes, as in `Activity`."""
    diverged_after_ms: tuple[float, ...] = ()
    """Time to divergence of each start whose roll-out diverged. These starts are left out above."""

    def divergence(self) -> dict[str, int | float]:
        """Return the columns that a table gets from these roll-outs.

        `n_diverged` of `n_all_starts` starts diverged, the first `diverged_after_ms` after its start (NaN if none did).
        """
        return {
            "n_all_starts": len(self.recordings) + len(self.diverged_after_ms),
            "n_diverged": len(self.diverged_after_ms),
            "diverged_after_ms": min(self.diverged_after_ms, default=np.nan),
        }


def rollout_horizon(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Compare roll-outs from several times in held-out recordings with the recorded future.

    The table is that of `rollout_horizon_table`. It is empty if the forecaster cannot roll out, or fewer than two
    recordings of one organoid are held out (see `make_rollouts`).

    Raises:
        EvaluationError: too many roll-outs diverge.
    """
    n_samples = min(round(_ROLLOUT_MS * window_set.rate_hz / 1000), _MOST_SAMPLES)
    rollouts = make_rollouts(forecaster, window_set, n_samples=n_samples, n_starts=_STARTS)
    return rollout_horizon_table(rollouts) if rollouts else pd.DataFrame(columns=list(_COLUMNS))


def rollout_horizon_table(rollouts: Rollouts) -> pd.DataFrame:
    """Compare roll-outs with the truth (`own`) and with another recording (`shuffled`), with 95 % intervals.

    The measures are:

    - `distance`: root of the mean squared difference over channels, `time_ms` after the start.
    - `spike F1`: 2 TP / (2 TP + FP + FN) over all spikes up to `time_ms`. A true positive is a spike within 2 ms of a
      recorded spike of its channel, and each recorded spike is used once. Left out if there are no spikes.
    - `nearer to the truth`: time in ms for which the distance to the truth stays below that to another recording. It
      is at most the length of the roll-outs.

    Intervals are bootstraps over starts. `n_starts` is the number of starts, without those that diverged; the last
    columns are those of `Rollouts.divergence`.
    """
    others = _of_other_recordings(rollouts.recordings)
    weights = _weights(len(rollouts.recordings))
    rows = [*_distances(rollouts, others, weights), *(_spikes(rollouts, others, weights) if rollouts.reset else [])]
    table = pd.DataFrame([(*row, len(others)) for row in rows], columns=list(_COLUMNS))
    return table.assign(**rollouts.divergence())


def make_rollouts(
    forecaster: Forecaster, window_set: WindowSet, *, n_samples: int, n_starts: int, most_recordings: int = 4
) -> Rollouts | None:
    """Roll out from held-out recordings of one organoid, in the strictest regime. Roll-outs that diverge are left out.

    Args:
        forecaster: the forecaster to roll out.
        window_set: window set with held-out windows.
        n_samples: number of samples to draw.
        n_starts: largest number of starts in each recording, evenly spaced.
        most_recordings: largest number of recordings; the first ones are used.

    Returns:
        The roll-outs. None if the forecaster has no predictive distribution one sample ahead, or fewer than two
        recordings of one organoid have a segment of this length.

    Raises:
        EvaluationError: so many roll-outs diverge that fewer than two recordings remain.
    """
    if forecaster.distribution is None or 1 not in forecaster.horizons:
        return None
    regime, windows = strictest_regime_windows(forecaster, window_set)
    first = int(window_set.index["recording"][windows[0]])
    organoid = window_set.recordings[first].organoid
    n_rows = window_set.context + n_samples
    segments_mv, keys = _held_out_segments(window_set, windows, organoid, n_rows, n_starts, most_recordings)
    if len(set(keys)) < 2:
        return None
    adapted, recorded_mv = forecaster_for_regime(forecaster, window_set, regime)(first), np.stack(segments_mv)
    known_mv = recorded_mv[:, : window_set.context]
    trained_mv = training_samples_mv(window_set)
    limits_mv = _limits_mv(float(trained_mv[0]), float(trained_mv[-1]))
    drawn_mv = roll_out(adapted, known_mv, n_samples, seed=_SEED, limits_mv=limits_mv)
    lost = np.isnan(drawn_mv).any(2)
    kept = ~lost.any(1)
    diverged_after_ms = 1000 * lost[~kept].argmax(1) / window_set.rate_hz
    recordings = tuple(key for key, is_kept in zip(keys, kept, strict=True) if is_kept)
    if len(set(recordings)) < 2:
        raise EvaluationError(
            f"Roll-outs diverge in {len(diverged_after_ms)} of {len(keys)} starts, the first after "
            f"{diverged_after_ms.min():.3g} ms. Their voltage leaves {limits_mv[0]:.3g} to {limits_mv[1]:.3g} mV, far "
            "beyond the training data. Scores of forecasts are not affected.",
            code="roll-out-diverges",
        )
    return Rollouts(
        imagined_mv=np.concatenate([known_mv, drawn_mv], axis=1)[kept],
        recorded_mv=recorded_mv[kept],
        recordings=recordings,
        n_known=window_set.context,
        rate_hz=window_set.rate_hz,
        reset=find_reset_voltage(trained_mv),
        effects=_effects(forecaster, window_set, organoid),
        diverged_after_ms=tuple(diverged_after_ms.tolist()),
    )


def _held_out_segments(
    window_set: WindowSet,
    windows: Int64[np.ndarray, " window"],
    organoid: str,
    n_rows: int,
    n_starts: int,
    most_recordings: int,
) -> tuple[list[Float32[np.ndarray, "time channel"]], list[str]]:
    """Return evenly spaced segments of `n_rows` of the organoid's held-out recordings in mV, each with its key."""
    recordings = window_set.index["recording"][windows]
    numbers = [n for n in dict.fromkeys(recordings.tolist()) if window_set.recordings[n].organoid == organoid]
    segments_mv, keys = [], []
    for number in numbers[:most_recordings]:
        starts = window_set.index["start_row"][windows[recordings == number]]
        mean_mv, sd_mv = window_set.calibration_mv(number)
        for start in evenly_spaced(_with_room(window_set, number, starts, n_rows), n_starts):
            rows = slice(int(start), int(start) + n_rows)
            segments_mv.append(to_mv(window_set.samples_z[rows], mean_mv, sd_mv).numpy())
            keys.append(window_set.recordings[number].key)
    return segments_mv, keys


def n_matching(a: Int64[np.ndarray, " _"], b: Int64[np.ndarray, " _"], tolerance: int) -> int:
    """Return the number of ascending times in `a` within a tolerance of a time in `b`, each used once."""
    here = there = matching = 0
    while here < len(a) and there < len(b):
        apart = a[here] - b[there]
        matching += abs(apart) <= tolerance
        here, there = here + (apart <= tolerance), there + (apart >= -tolerance)
    return int(matching)


def _limits_mv(lowest_mv: float, highest_mv: float) -> tuple[float, float]:
    margin_mv = _MARGIN_RANGES * (highest_mv - lowest_mv)
    return lowest_mv - margin_mv, highest_mv + margin_mv


def _with_room(
    window_set: WindowSet, number: int, starts: Int64[np.ndarray, " start"], n_rows: int
) -> Int64[np.ndarray, " fewer"]:
    """Return the starts that are followed by `n_rows` rows without a gap in the same split."""
    spans = [(start, stop) for r, start, stop, _ in window_set.manifest.spans if r == number]
    has_room = [any(start <= row and row + n_rows <= stop for start, stop in spans) for row in starts.tolist()]
    return np.asarray(starts[np.array(has_room, bool)])


def _effects(forecaster: Forecaster, window_set: WindowSet, organoid: str) -> tuple[int, ...]:
    """Return the effect of each channel by its type or, if no type is known, by the forecaster's couplings."""
    known = tuple(_EFFECTS.get(kind, 0) for kind in window_set.channel_types)
    if any(known) or organoid not in (couplings := forecaster.couplings()):
        return known
    return tuple(_EFFECTS.get(kind.value, 0) for kind in couplings[organoid].sender_types)


def _of_other_recordings(recordings: tuple[str, ...]) -> Int64[np.ndarray, " start"]:
    """Pair each start with one of another recording, and the starts of a recording with different ones."""
    chosen = []
    for here, recording in enumerate(recordings):
        others = [there for there, other in enumerate(recordings) if other != recording]
        chosen.append(others[recordings[:here].count(recording) % len(others)])
    return np.array(chosen)


def _weights(n_starts: int) -> Float64[np.ndarray, "resample start"]:
    """Return how often each start is drawn: once each in the first row, and bootstrap draws in the others."""
    return np.concatenate([np.ones((1, n_starts)), times_drawn(n_starts, _RESAMPLES)])


def _distances(
    rollouts: Rollouts, others: Int64[np.ndarray, " start"], weights: Float64[np.ndarray, "resample start"]
) -> Iterator[tuple[object, ...]]:
    imagined_mv, recorded_mv = (each[:, rollouts.n_known :] for each in (rollouts.imagined_mv, rollouts.recorded_mv))
    own, shuffled = (
        np.sqrt(weights @ ((imagined_mv - truth_mv) ** 2).mean(2, dtype=np.float64) / weights.sum(1, keepdims=True))
        for truth_mv in (recorded_mv, recorded_mv[others])
    )
    ms = 1000 / rollouts.rate_hz
    for sample in range(own.shape[1]):
        yield DISTANCE, "mV", (sample + 1) * ms, *_interval(own[:, sample]), *_interval(shuffled[:, sample])
    # The first sample at which the truth is no nearer, or one after the last if there is none.
    no_nearer = np.concatenate([own >= shuffled, np.ones((len(own), 1), bool)], axis=1)
    lead_ms = no_nearer.argmax(1) * ms
    yield LEAD, "ms", own.shape[1] * ms, *_interval(lead_ms), np.nan, np.nan, np.nan


def _spikes(
    rollouts: Rollouts, others: Int64[np.ndarray, " start"], weights: Float64[np.ndarray, "resample start"]
) -> Iterator[tuple[object, ...]]:
    imagined, recorded = _spike_trains(rollouts, rollouts.imagined_mv), _spike_trains(rollouts, rollouts.recorded_mv)
    tolerance = round(_TOLERANCE_MS * rollouts.rate_hz / 1000)
    for until_ms in _SPIKES_MS:
        stop = round(until_ms * rollouts.rate_hz / 1000)
        if stop > imagined.shape[1] or not (imagined[:, :stop].any() and recorded[:, :stop].any()):
            continue
        own, shuffled = (
            weights @ _matches(imagined[:, :stop], truth[:, :stop], tolerance) for truth in (recorded, recorded[others])
        )
        f1 = [2 * counts[:, 0] / np.maximum(counts[:, 1], 1) for counts in (own, shuffled)]
        yield SPIKES, "", until_ms, *_interval(f1[0]), *_interval(f1[1])


def _spike_trains(rollouts: Rollouts, voltage_mv: np.ndarray) -> Bool[np.ndarray, "start time channel"]:
    """Return spike onsets after the known samples."""
    assert rollouts.reset is not None
    at_reset = is_at_reset(torch.from_numpy(voltage_mv), rollouts.reset.voltage_mv, rollouts.reset.tolerance_mv)
    return spike_onsets(at_reset).numpy()[:, rollouts.n_known :]


def _matches(
    imagined: Bool[np.ndarray, "start time channel"], recorded: Bool[np.ndarray, "start time channel"], tolerance: int
) -> Float64[np.ndarray, "start 2"]:
    """Return for each start the number of matching spikes, and of all spikes in both."""
    matching = [
        sum(
            n_matching(np.flatnonzero(a), np.flatnonzero(b), tolerance) for a, b in zip(rollout.T, truth.T, strict=True)
        )
        for rollout, truth in zip(imagined, recorded, strict=True)
    ]
    return np.stack([np.array(matching), imagined.sum((1, 2)) + recorded.sum((1, 2))], axis=1).astype(np.float64)


def _interval(values: Float64[np.ndarray, " resample"]) -> tuple[float, float, float]:
    """Return the value, which is the first, and the interval of the resampled others."""
    low, high = np.quantile(values[1:], _INTERVAL)
    return float(values[0]), float(low), float(high)
