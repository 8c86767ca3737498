"""Some held-out windows, and other moments of the same recordings to put in their place."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from voltpipe.evaluation.batching import predict_mv, windows_per_batch
from voltpipe.evaluation.held_out_windows import evenly_spaced
from voltpipe.evaluation.paired_gain import paired_gain
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import Batch, WindowSet

N_DRAWS = 2
"""Other moments that each window is compared with."""

_MOST_OTHERS = 200
_MOST_VALUES = 1 << 24
_REFERENCE_VALUES = 100 * 150
_LEAST = 8
_SEED = 0


def affordable(at_most: int, window_set: WindowSet) -> int:
    """As many forecasts of usual windows, of 100 channels and 150 samples; fewer of larger ones, but some."""
    values = window_set.n_channels * window_set.context
    return min(at_most, max(_LEAST, at_most * _REFERENCE_VALUES // values))


class ReplacementWindows:
    """Windows in order of recording and time, each with others of the same recording, which share no sample with it.

    Args:
        window_set: where the windows are.
        pool: the positions in its index of all that may be taken.
        at_most: how many to take, evenly spread; fewer where they are large.
    """

    def __init__(self, window_set: WindowSet, pool: Int64[np.ndarray, " window"], at_most: int) -> None:
        self.window_set = window_set
        self._pools = _pools(window_set, pool)
        chosen = evenly_spaced(pool, affordable(at_most, window_set))
        self._take(np.array([window for window in chosen if len(self.others(window)) >= N_DRAWS], np.int64))

    def some(self, at_most: int) -> "ReplacementWindows":
        """Fewer of them, evenly spread."""
        fewer = copy(self)
        fewer._take(evenly_spaced(self.windows, at_most))
        return fewer

    def _take(self, windows: Int64[np.ndarray, " window"]) -> None:
        window_set, self.windows = self.window_set, windows
        self.recordings = window_set.index["recording"][self.windows].astype(np.int64)
        self.batch = window_set.batch(self.windows)

    def __len__(self) -> int:
        return len(self.windows)

    def truth_mv(self, horizons: tuple[int, ...]) -> Float[Tensor, "window horizon channel"]:
        """Targets of the windows."""
        return self.batch.target_mv()[:, [self.window_set.horizons.index(horizon) for horizon in horizons]]

    def forecast_mv(
        self,
        used: Callable[[int], Forecaster],
        history_z: Float[Tensor, "history context channel"],
        rows: Int64[np.ndarray, " history"],
    ) -> Float[Tensor, "history horizon channel"]:
        """Forecast histories that replace those of the windows at `rows`.

        `used` returns the forecaster for the number of a recording.
        """
        forecasts: list[Tensor] = [torch.empty(0)] * len(rows)
        for number in np.unique(self.recordings[rows]):
            own = np.flatnonzero(self.recordings[rows] == number)
            for some in np.split(
                own, range(windows_per_batch(self.window_set), len(own), windows_per_batch(self.window_set))
            ):
                where = torch.from_numpy(rows[some])
                shown = Batch(
                    history_z[some], self.batch.target_z[where], self.batch.mean_mv[where], self.batch.sd_mv[where]
                )
                for row, forecast in zip(some, predict_mv(used(int(number)), shown), strict=True):
                    forecasts[row] = forecast
        return torch.stack(forecasts)

    def elsewhere_z(self) -> Float[Tensor, "draw window context channel"]:
        """Whole histories of other moments, drawn at random."""
        generator = np.random.default_rng(_SEED)
        drawn = np.array([generator.choice(self.others(window), N_DRAWS, replace=False) for window in self.windows])
        return torch.stack([self.window_set.segment(of_one_draw, self.window_set.context) for of_one_draw in drawn.T])

    def other_past_z(self, n_kept: int) -> Float[Tensor, "draw window context channel"]:
        """Replace the samples before the last `n_kept` of each history.

        Replacements are what preceded the time at which the channel was nearest in voltage to the oldest kept sample,
        so the history has no step.
        """
        context, channels = self.window_set.context, torch.arange(self.window_set.n_channels)
        histories_z = self.batch.history_z.expand(N_DRAWS, -1, -1, -1).clone()
        for number in np.unique(self.recordings):
            pool_z = self.window_set.segment(self._pools[number], context)
            for row in np.flatnonzero(self.recordings == number):
                distance_z = (pool_z[:, -n_kept] - self.batch.history_z[row, -n_kept]).abs()
                distance_z[np.isin(self._pools[number], self.others(self.windows[row]), invert=True)] = torch.inf
                nearest = distance_z.topk(N_DRAWS, dim=0, largest=False).indices
                histories_z[:, row, :-n_kept] = pool_z[nearest, : context - n_kept, channels].mT
        return histories_z

    def others(self, window: np.int64) -> Int64[np.ndarray, " other"]:
        """Windows of the same recording that share no sample with it."""
        index = self.window_set.index
        pool = self._pools[int(index["recording"][window])]
        apart = np.abs(index["start_row"][pool] - index["start_row"][window])
        return np.asarray(pool[apart >= self.window_set.settings.window_samples])


def _pools(window_set: WindowSet, pool: Int64[np.ndarray, " window"]) -> dict[int, Int64[np.ndarray, " other"]]:
    """Some windows of each recording, by its number."""
    at_most = min(_MOST_OTHERS, max(_LEAST, _MOST_VALUES // (window_set.n_channels * window_set.context)))
    recordings = window_set.index["recording"][pool]
    of_each = {int(number): pool[recordings == number] for number in np.unique(recordings)}
    return {number: evenly_spaced(windows, at_most) for number, windows in of_each.items()}


_ERROR_RATE = 0.025
"""On either side of an interval."""
_LEAST_RECORDINGS = 3
_BLOCKS = 8


@dataclass(frozen=True)
class R2Drop:
    """R2 at one horizon, what is lost of it, and the 95 % interval of that."""

    horizon: int
    r2: float
    r2_moved: float
    """Variance of forecasts due to hidden inputs, as a fraction of the variance: their value if used correctly."""
    r2_lost: float
    low: float
    """NaN where there is but one unit to judge by."""
    high: float
    n_targets: int


def r2_drops(
    moments: ReplacementWindows,
    horizons: tuple[int, ...],
    rows: Int64[np.ndarray, " history"],
    forecast_mv: Float[Tensor, "history horizon channel"],
    without_mv: Float[Tensor, "2 history horizon channel"],
    counted: Float[Tensor, "history channel"],
    units: Int64[np.ndarray, " history"],
) -> Iterator[R2Drop]:
    """Return by horizon the R2 of the forecasts minus that of forecasts with hidden inputs.

    A hidden input is replaced by its values at two other times. A single replacement also misleads the forecaster,
    which costs up to twice as much. What is wanted is the error of the mean of all such forecasts. Its square has the
    same expectation as the product of the errors of two independent draws.

    Args:
        moments: the windows.
        horizons: horizons of the forecasts.
        rows: window of each history.
        forecast_mv: forecasts from the unchanged histories.
        without_mv: two forecasts with hidden inputs.
        counted: 1 for channels that count, 0 for others.
        units: number of the independent unit of each history, such as its recording.
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
        yield R2Drop(horizon, 1 - error, movement, gain.gain, low, high, int(counted.sum()))


def units_of(moments: ReplacementWindows) -> tuple[str, Int64[np.ndarray, " window"]]:
    """Return the independent units (recordings, or blocks of windows if there are few), and that of each window."""
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
