"""How long a roll-out follows the truth, before it is no nearer to it than to what was recorded elsewhere."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float64, Int64

from voltpipe.evaluation.bootstrap import times_drawn
from voltpipe.evaluation.diagnosis.free_runs import FreeRuns, free_runs
from voltpipe.forecasting.coupling.spikes import onsets, standing_at
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

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


def following(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Roll-outs from several moments of each of some held-out recordings, beside what followed (see `followed`).

    Empty where the forecaster cannot run free, or less than two recordings of one organoid were held out.
    """
    n_samples = min(round(_RUN_MS * window_set.rate_hz / 1000), _MOST_SAMPLES)
    runs = free_runs(forecaster, window_set, n_samples=n_samples, n_starts=_STARTS)
    return followed(runs) if runs else pd.DataFrame(columns=list(_COLUMNS))


def followed(runs: FreeRuns) -> pd.DataFrame:
    """How near roll-outs stay to the truth, and to the truth of another recording (`shuffled`), with 95 % intervals.

    `distance` is the root of the mean squared difference over channels, `time_ms` after the start. `spike F1` is
    2 TP / (2 TP + FP + FN) over all spikes up to then, where a true positive is a spike within 2 ms of a recorded one
    of its channel, each used once; left out where no spike was to be seen. `nearer to the truth` says how long the
    distance to the truth stays below that to another recording, in ms, at most as long as the runs are. Intervals are
    bootstraps over starts.
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
    runs: FreeRuns, others: Int64[np.ndarray, " start"], weights: Float64[np.ndarray, "resample start"]
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
    runs: FreeRuns, others: Int64[np.ndarray, " start"], weights: Float64[np.ndarray, "resample start"]
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


def _spike_trains(runs: FreeRuns, voltage_mv: np.ndarray) -> Bool[np.ndarray, "start time channel"]:
    """From the first sample that was not known on."""
    assert runs.reset is not None
    at_reset = standing_at(torch.from_numpy(voltage_mv), runs.reset.voltage_mv, runs.reset.tolerance_mv)
    return onsets(at_reset).numpy()[:, runs.n_known :]


def _matches(
    imagined: Bool[np.ndarray, "start time channel"], recorded: Bool[np.ndarray, "start time channel"], tolerance: int
) -> Float64[np.ndarray, "start 2"]:
    """Of each start, the spikes that match, and all spikes of both."""
    matching = [
        sum(n_matching(np.flatnonzero(a), np.flatnonzero(b), tolerance) for a, b in zip(run.T, truth.T, strict=True))
        for run, truth in zip(imagined, recorded, strict=True)
    ]
    return np.stack([np.array(matching), imagined.sum((1, 2)) + recorded.sum((1, 2))], axis=1).astype(np.float64)


def n_matching(a: Int64[np.ndarray, " _"], b: Int64[np.ndarray, " _"], tolerance: int) -> int:
    """How many ascending moments of the one lie within a tolerance of one of the other, each being used once."""
    here = there = matching = 0
    while here < len(a) and there < len(b):
        apart = a[here] - b[there]
        matching += abs(apart) <= tolerance
        here, there = here + (apart <= tolerance), there + (apart >= -tolerance)
    return int(matching)


def _interval(values: Float64[np.ndarray, " resample"]) -> tuple[float, float, float]:
    """The value itself, which stands first, and the interval of the others."""
    low, high = np.quantile(values[1:], _INTERVAL)
    return float(values[0]), float(low), float(high)
