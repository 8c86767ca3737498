"""Held-out windows of each regime, and the forecaster as it is used there."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Int64

from voltpipe.evaluation.regimes import ADAPTATION_MS, Regime
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet, to_mv

_MOST_TARGETS = 1 << 19
"""Largest number of targets of a regime at each horizon. More change no digit that is shown."""


def regime_windows(forecaster: Forecaster, window_set: WindowSet) -> dict[Regime, Int64[np.ndarray, " window"]]:
    """The windows of each regime that has any, by their positions in the index; of very many, an even choice.

    Who was seen in training depends on the window set alone, so that all forecasters are scored on the same windows.
    """
    test, time = window_set.windows(Split.TEST), window_set.windows(Split.TIME)
    seen = window_set.training_organoids()
    is_seen = np.array([recording.organoid in seen for recording in window_set.recordings])
    of_seen = is_seen[window_set.index["recording"][test]]
    windows = {
        Regime.TEST: test[of_seen],
        Regime.ZERO_SHOT: test[~of_seen],
        Regime.ADAPTED: _after_adaptation(window_set, test[~of_seen]) if forecaster.adapts else test[:0],
        Regime.TIME: time,
    }
    most = max(1, _MOST_TARGETS // window_set.n_channels)
    return {regime: positions[:: -(-len(positions) // most)] for regime, positions in windows.items() if len(positions)}


def strictest_regime_windows(
    forecaster: Forecaster, window_set: WindowSet
) -> tuple[Regime, Int64[np.ndarray, " window"]]:
    """The regime in which least was known of what is scored, of those that have windows, and these."""
    return next(iter(regime_windows(forecaster, window_set).items()))


def held_out_digests(forecaster: Forecaster, window_set: WindowSet) -> tuple[Regime, dict[str, str]]:
    """Return the strictest regime that has windows, and the raw digests of its recordings by key."""
    regime, windows = strictest_regime_windows(forecaster, window_set)
    held_out = [window_set.recordings[number] for number in np.unique(window_set.index["recording"][windows])]
    return regime, {recording.key: recording.digest for recording in held_out}


def evenly_spaced(values: Int64[np.ndarray, " value"], at_most: int) -> Int64[np.ndarray, " fewer"]:
    """Return at most so many of the values, evenly spaced."""
    return values[np.linspace(0, len(values) - 1, min(at_most, len(values))).astype(np.int64)]


def _after_adaptation(
    window_set: WindowSet, windows: Int64[np.ndarray, " window"]
) -> Int64[np.ndarray, " later_window"]:
    """The windows whose first target lies behind what is adapted to."""
    starts = np.array([recording.start_row for recording in window_set.recordings])
    entries = window_set.index[windows]
    first_target = entries["start_row"] + window_set.context - starts[entries["recording"]]
    return np.asarray(windows[first_target >= _adaptation_samples(window_set)])


def _adaptation_samples(window_set: WindowSet) -> int:
    return round(ADAPTATION_MS / 1000 * window_set.rate_hz)


def forecaster_for_regime(forecaster: Forecaster, window_set: WindowSet, regime: Regime) -> Callable[[int], Forecaster]:
    """Gives the forecaster as it is used in a regime on each recording, by its number."""

    @cache
    def on(number: int) -> Forecaster:
        recording = window_set.recordings[number]
        if regime is not Regime.ADAPTED:
            return forecaster.for_recording(recording.organoid, window_set.channel_names)
        stop_row = recording.start_row + _adaptation_samples(window_set)
        # A span never reaches over a gap; what lies before the first is the beginning of the recording.
        inner = {row for r, start, stop, _ in window_set.manifest.spans if r == number for row in (start, stop)}
        edges = [recording.start_row, *sorted(row for row in inner if recording.start_row < row < stop_row), stop_row]
        mean_mv, sd_mv = window_set.calibration_mv(number)
        pasts_mv: list[Float32[np.ndarray, "time channel"]] = [
            to_mv(window_set.samples_z[start:stop], mean_mv, sd_mv).numpy() for start, stop in pairwise(edges)
        ]
        return forecaster.adapted_to(pasts_mv, window_set.channel_names)

    return on
