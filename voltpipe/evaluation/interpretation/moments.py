"""Some held-out windows, and other moments of the same recordings to put in their place."""

from collections.abc import Callable
from copy import copy

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.evaluation.detail import predict_mv, windows_per_batch
from voltpipe.evaluation.held_out import evenly
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


class Moments:
    """Windows in order of recording and time, each with others of the same recording, which share no sample with it.

    Args:
        window_set: where the windows are.
        pool: the positions in its index of all that may be taken.
        at_most: how many to take, evenly spread; fewer where they are large.
    """

    def __init__(self, window_set: WindowSet, pool: Int64[np.ndarray, " window"], at_most: int) -> None:
        self.window_set = window_set
        self._pools = _pools(window_set, pool)
        chosen = evenly(pool, affordable(at_most, window_set))
        self._take(np.array([window for window in chosen if len(self.others(window)) >= N_DRAWS], np.int64))

    def some(self, at_most: int) -> "Moments":
        """Fewer of them, evenly spread."""
        fewer = copy(self)
        fewer._take(evenly(self.windows, at_most))
        return fewer

    def _take(self, windows: Int64[np.ndarray, " window"]) -> None:
        window_set, self.windows = self.window_set, windows
        self.recordings = window_set.index["recording"][self.windows].astype(np.int64)
        self.batch = window_set.batch(self.windows)

    def __len__(self) -> int:
        return len(self.windows)

    def truth_mv(self, horizons: tuple[int, ...]) -> Float[Tensor, "window horizon channel"]:
        """What followed."""
        return self.batch.target_mv()[:, [self.window_set.horizons.index(horizon) for horizon in horizons]]

    def forecast_mv(
        self,
        used: Callable[[int], Forecaster],
        history_z: Float[Tensor, "history context channel"],
        rows: Int64[np.ndarray, " history"],
    ) -> Float[Tensor, "history horizon channel"]:
        """Forecast histories that stand in the place of those of the windows at `rows`.

        `used` gives the forecaster as it is used on a recording, by the recording's number.
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
        return torch.stack([self.window_set.stretch(of_one_draw, self.window_set.context) for of_one_draw in drawn.T])

    def other_past_z(self, n_kept: int) -> Float[Tensor, "draw window context channel"]:
        """The histories with other samples before the last `n_kept`.

        Each channel's are those that came before, at another moment, when the channel stood at the voltage nearest to
        the oldest that is kept: as they might have been, and without a step.
        """
        context, channels = self.window_set.context, torch.arange(self.window_set.n_channels)
        histories_z = self.batch.history_z.expand(N_DRAWS, -1, -1, -1).clone()
        for number in np.unique(self.recordings):
            pool_z = self.window_set.stretch(self._pools[number], context)
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
    return {number: evenly(windows, at_most) for number, windows in of_each.items()}
