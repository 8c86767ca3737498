"""Held-out windows whose inputs are replaced by those of other times, and the loss of R2 that this causes."""

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
"""Number of other times that each window is compared with."""
_MOST_OTHERS = 200
_MOST_VALUES = 1 << 24
_REFERENCE_VALUES = 100 * 150
_LEAST = 8
_SEED = 0
_ERROR_RATE = 0.025
"""Error rate on either side of an interval."""
_LEAST_RECORDINGS = 3
_BLOCKS = 8


class ReplacementWindows:
    """Windows in order of recording and time. Each has other windows of its recording that share no sample with it.

    Args:
        window_set: the window set.
        pool: index positions of the windows to choose from.
        at_most: largest number of windows, which are evenly spaced; fewer are taken if they are large.
    """

    def __init__(self, window_set: WindowSet, pool: Int64[np.ndarray, " window"], at_most: int) -> None:
        self.window_set = window_set
        self._pools = _pools(window_set, pool)
        chosen = evenly_spaced(pool, affordable(at_most, window_set))
        self._take(np.array([window for window in chosen if len(self.others(window)) >= N_DRAWS], np.int64))

    def some(self, at_most: int) -> "ReplacementWindows":
        """Return a copy with at most `at_most` of the windows, evenly spaced."""
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
        """Return the targets, in mV."""
        return self.batch.target_mv()[:, [self.window_set.horizons.index(horizon) for horizon in horizons]]

    def forecast_mv(
        self,
        used: Callable[[int], Forecaster],
        history_z: Float[Tensor, "history context channel"],
        rows: Int64[np.ndarray, " history"],
    ) -> Float[Tensor, "history horizon channel"]:
        """Forecast histories that replace those of the windows at `rows`.

        `used` is a function from a recording's number to the forecaster for it.
        """
        forecasts: list[Tensor] = [torch.empty(0)] * len(rows)
        for number in np.unique(self.recordings[rows]):
            own = np.flatnonzero(self.recordings[rows] == number)
            for some in np.split(
                own, range(windows_per_batch(self.window_set), len(own), windows_per_batch(self.window_set))
            ):
                where = torch.from_numpy(rows[some])
                replaced = Batch(
                    history_z[some], self.batch.target_z[where], self.batch.mean_mv[where], self.batch.sd_mv[where]
                )
                for row, forecast in zip(some, predict_mv(used(int(number)), replaced), strict=True):
                    forecasts[row] = forecast
        return torch.stack(forecasts)

    def elsewhere_z(self) -> Float[Tensor, "draw window context channel"]:
        """Return whole histories of other times, drawn at random."""
        generator = np.random.default_rng(_SEED)
        drawn = np.array([generator.choice(self.others(window), N_DRAWS, replace=False) for window in self.windows])
        return torch.stack([self.window_set.segment(of_one_draw, self.window_set.context) for of_one_draw in drawn.T])

    def other_past_z(self, n_kept: int) -> Float[Tensor, "draw window context channel"]:
        """Return the histories with other samples before the last `n_kept`.

        In each channel they are the samples before another time at which its voltage was nearest to that of the oldest
        kept sample. The result is a plausible history without a step.
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
        """Return windows of the same recording that share no sample with a window."""
        index = self.window_set.index
        pool = self._pools[int(index["recording"][window])]
        apart = np.abs(index["start_row"][pool] - index["start_row"][window])
        return np.asarray(pool[apart >= self.window_set.settings.window_samples])


def affordable(at_most: int, window_set: WindowSet) -> int:
    """Return `at_most` for windows of up to 100 channels and 150 samples, and a smaller number for larger windows."""
    values = window_set.n_channels * window_set.context
    return min(at_most, max(_LEAST, at_most * _REFERENCE_VALUES // values))


@dataclass(frozen=True)
class R2Drop:
    """R2 at one horizon, its loss without an input, and the 95 % interval of the loss."""

    horizon: int
    r2: float
    r2_moved: float
    """Variance of forecasts due to the hidden input, as a share of the total: the loss if its use is optimal."""
    r2_lost: float
    low: float
    """Lower end of the interval; NaN if there is only one unit."""
    high: float
    n_targets: int


def r2_drops(
    windows: ReplacementWindows,
    horizons: tuple[int, ...],
    rows: Int64[np.ndarray, " history"],
    forecast_mv: Float[Tensor, "history horizon channel"],
    without_mv: Float[Tensor, "2 history horizon channel"],
    counted: Float[Tensor, "history channel"],
    units: Int64[np.ndarray, " history"],
) -> Iterator[R2Drop]:
    """Yield for each horizon R2 of the forecasts, and its loss if an input is hidden.

    The hidden input was replaced by its values at two other times. A forecast from one replacement is also misled,
    which costs up to twice as much. The quantity of interest is the error of the mean over all replacements. Its square
    has the same expectation as the product of the errors of two independent replacements.

    Args:
        windows: the windows.
        horizons: horizons of the forecasts, in samples.
        rows: position of the window of each history.
        forecast_mv: forecasts from the unchanged histories.
        without_mv: forecasts from two replacements.
        counted: 1 for the channels that are counted, 0 for others.
        units: number of the independent unit of each history, such as its recording.
    """
    truth_mv = windows.truth_mv(horizons)[rows]
    first, second = truth_mv - without_mv
    kept, lost, moved, total = (
        _by_unit((counted[:, None] * values).double().sum(-1), units)
        for values in (
            (truth_mv - forecast_mv).square(),
            first * second,
            (forecast_mv - without_mv[0]) * (forecast_mv - without_mv[1]),
            (truth_mv - windows.window_set.train_mean_mv()).square(),
        )
    )
    for column, horizon in enumerate(horizons):
        one = slice(column, column + 1)
        gain = paired_gain(kept[:, one], lost[:, one], total[:, one], error_rate=_ERROR_RATE)
        error, movement = (float(sums[:, column].sum() / total[:, column].sum()) for sums in (kept, moved))
        low, high = (np.nan if bound is None else bound for bound in (gain.lower, gain.upper))
        yield R2Drop(horizon, 1 - error, movement, gain.gain, low, high, int(counted.sum()))


def units_of(windows: ReplacementWindows) -> tuple[str, Int64[np.ndarray, " window"]]:
    """Return the independent unit (recordings, or blocks of windows if there are few) and each window's unit number."""
    recordings = np.unique(windows.recordings, return_inverse=True)[1]
    if len(np.unique(recordings)) >= _LEAST_RECORDINGS:
        return "recordings", np.asarray(recordings, np.int64)
    return "blocks of windows", np.arange(len(windows)) * min(_BLOCKS, len(windows)) // len(windows)


def _pools(window_set: WindowSet, pool: Int64[np.ndarray, " window"]) -> dict[int, Int64[np.ndarray, " other"]]:
    """Return evenly spaced windows of each recording, by its number."""
    at_most = min(_MOST_OTHERS, max(_LEAST, _MOST_VALUES // (window_set.n_channels * window_set.context)))
    recordings = window_set.index["recording"][pool]
    return {int(number): evenly_spaced(pool[recordings == number], at_most) for number in np.unique(recordings)}


def _by_unit(
    values: Float[Tensor, "history horizon"], units: Int64[np.ndarray, " history"]
) -> Float64[np.ndarray, "unit horizon"]:
    present, position = np.unique(units, return_inverse=True)
    sums = torch.zeros(len(present), values.shape[1], dtype=torch.float64)
    return np.asarray(sums.index_add(0, torch.from_numpy(position), values).numpy())
