"""What it costs a forecaster not to know something."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from voltpipe.evaluation.interpretation.moments import Moments
from voltpipe.evaluation.paired_gain import paired_gain

_ERROR_RATE = 0.025
"""On either side of an interval."""
_LEAST_RECORDINGS = 3
_BLOCKS = 8


@dataclass(frozen=True)
class Loss:
    """R2 at one horizon, what is lost of it, and the 95 % interval of that."""

    horizon: int
    r2: float
    r2_moved: float
    """By how much forecasts move with what is not known, as a share of the variance: what right use of it is worth."""
    r2_lost: float
    low: float
    """NaN where there is but one unit to judge by."""
    high: float
    n_targets: int


def losses(
    moments: Moments,
    horizons: tuple[int, ...],
    rows: Int64[np.ndarray, " history"],
    forecast_mv: Float[Tensor, "history horizon channel"],
    without_mv: Float[Tensor, "2 history horizon channel"],
    counted: Float[Tensor, "history channel"],
    units: Int64[np.ndarray, " history"],
) -> Iterator[Loss]:
    """By horizon: R2 of the forecasts, less that of forecasts in which something is not known.

    What is not known was replaced by what it was at two other moments. A forecast from one of them is misled as well,
    which costs up to twice as much; what is wanted is the error of the mean of all such forecasts. Its square has the
    same expectation as the product of the errors of two that were drawn independently.

    Args:
        moments: the windows.
        horizons: of the forecasts.
        rows: which window each history belongs to.
        forecast_mv: from the histories as they are.
        without_mv: two forecasts without.
        counted: 1 for the channels that are counted, 0 for others.
        units: the number of what is taken to vary independently, such as each one's recording.
    """
    truth_mv = moments.truth_mv(horizons)[rows]
    first, second = (truth_mv - each for each in without_mv)
    kept, lost, moved, total = (
        _by_unit((counted[:, None] * values).double().sum(-1), units)
        for values in (
            (truth_mv - forecast_mv).square(),
            first * second,
            (forecast_mv - without_mv[0]) * (forecast_mv - without_mv[1]),
            (truth_mv - moments.window_set.train_mean_mv()).square(),
        )
    )
    for column, horizon in enumerate(horizons):
        one = slice(column, column + 1)
        gain = paired_gain(kept[:, one], lost[:, one], total[:, one], error_rate=_ERROR_RATE)
        error, movement = (float(sums[:, column].sum() / total[:, column].sum()) for sums in (kept, moved))
        low, high = (np.nan if bound is None else bound for bound in (gain.lower, gain.upper))
        yield Loss(horizon, 1 - error, movement, gain.gain, low, high, int(counted.sum()))


def units_of(moments: Moments) -> tuple[str, Int64[np.ndarray, " window"]]:
    """What is taken to vary independently: recordings, or blocks of windows where there are few; and of each window."""
    recordings = np.unique(moments.recordings, return_inverse=True)[1]
    if len(np.unique(recordings)) >= _LEAST_RECORDINGS:
        return "recordings", np.asarray(recordings, np.int64)
    return "blocks of windows", np.arange(len(moments)) * min(_BLOCKS, len(moments)) // len(moments)


def _by_unit(
    values: Float[Tensor, "history horizon"], units: Int64[np.ndarray, " history"]
) -> Float64[np.ndarray, "unit horizon"]:
    present, position = np.unique(units, return_inverse=True)
    sums = torch.zeros(len(present), values.shape[1], dtype=torch.float64)
    return np.asarray(sums.index_add(0, torch.from_numpy(position), values).numpy())
