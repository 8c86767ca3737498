"""What a forecaster imagines when it runs free, beside what was recorded."""

import numpy as np
import pandas as pd

from voltpipe.evaluation.diagnosis.activity import Activity
from voltpipe.evaluation.diagnosis.resemblance import resemblance
from voltpipe.evaluation.held_out import as_used, strictest_windows
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.point_mass import find_point_mass
from voltpipe.forecasting.roll_out import roll_out
from voltpipe.forecasting.training_rows import training_values_mv
from voltpipe.windows.window_set import WindowSet

_IMAGINED_S = 1.0
_MOST_SAMPLES = 1000
_MOST_RECORDINGS = 4
_SEED = 0


def imagined_resemblance(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Roll-outs from the beginnings of held-out recordings of one organoid, beside what was recorded next.

    Empty where the forecaster has no predictive distribution one sample ahead, or less than two such recordings were
    held out (see `resemblance`).
    """
    if forecaster.distribution is None or 1 not in forecaster.horizons:
        return resemblance([], [])
    regime, windows = strictest_windows(forecaster, window_set)
    held_out = dict.fromkeys(window_set.index["recording"][windows].tolist())
    organoids = {number: window_set.recordings[number].organoid for number in held_out}
    first = next(iter(organoids))
    numbers = [number for number in held_out if organoids[number] == organoids[first]][:_MOST_RECORDINGS]
    n_samples = min(round(_IMAGINED_S * window_set.rate_hz), _MOST_SAMPLES)
    pieces = (_held_out_mv(window_set, windows, number, n_samples) for number in numbers)
    stretches_mv = [piece_mv for piece_mv in pieces if piece_mv is not None]
    if len(stretches_mv) < 2:
        return resemblance([], [])
    reset = find_point_mass(training_values_mv(window_set))
    context = window_set.context
    running = as_used(forecaster, window_set, regime)(first)
    imagined_mv = roll_out(
        running, np.stack([stretch_mv[:context] for stretch_mv in stretches_mv]), n_samples, seed=_SEED
    )
    return resemblance(
        [Activity.of(run_mv, window_set.rate_hz, reset) for run_mv in imagined_mv],
        [Activity.of(stretch_mv[context:], window_set.rate_hz, reset) for stretch_mv in stretches_mv],
    )


def _held_out_mv(window_set: WindowSet, windows: np.ndarray, number: int, n_samples: int) -> np.ndarray | None:
    """A history and what followed it, in one piece; None where less was held out."""
    starts = window_set.index["start_row"][windows[window_set.index["recording"][windows] == number]]
    first, needed = int(starts[0]), window_set.context + n_samples
    spans = [(start, stop) for r, start, stop, _ in window_set.manifest["spans"] if r == number]
    if not any(start <= first and first + needed <= stop for start, stop in spans):
        return None
    mean_mv, sd_mv = window_set.calibration_mv(number)
    return np.asarray((window_set.samples_z[first : first + needed] * sd_mv + mean_mv).numpy())
