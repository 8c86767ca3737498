"""Forecasts from held-out histories that something is wrong with, beside a truth that nothing is wrong with."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from voltpipe.evaluation.detail import predict_mv
from voltpipe.evaluation.diagnosis.corruption import Shown
from voltpipe.evaluation.held_out import as_used, evenly, strictest_windows
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

_MOST_WINDOWS = 60
_SEED = 0

ForecastMv = Float[Tensor, "_ horizon channel"]
Fault = Callable[[Shown], Tensor]
"""Gives histories with something wrong with them."""


def nothing_wrong(shown: Shown) -> Tensor:
    """The histories as they were recorded."""
    return shown.history_mv


class FaultyForecasts:
    """Forecasts of some windows of the strictest regime, after whatever is done to their histories.

    Args:
        contenders: by name, the forecaster first; all are shown the same.
        window_set: with held-out windows.
    """

    def __init__(self, contenders: Mapping[str, Forecaster], window_set: WindowSet) -> None:
        regime, windows = strictest_windows(next(iter(contenders.values())), window_set)
        windows = evenly(windows, _MOST_WINDOWS)
        self.window_set, self.contenders = window_set, contenders
        self.n_windows = len(windows)
        self._used = {name: as_used(contender, window_set, regime) for name, contender in contenders.items()}
        recordings = window_set.index["recording"][windows]
        self._batches = {int(n): window_set.batch(windows[recordings == n]) for n in np.unique(recordings)}

    def after(self, fault: Fault) -> Iterator[tuple[str, ForecastMv, ForecastMv]]:
        """Of one recording after the other, each contender's name, its forecasts and the truth, in mV."""
        mean_mv, sd_mv = self.window_set.train_mean_mv(), self.window_set.calibration_mv(0)[1]
        for number, batch in self._batches.items():
            shown = Shown(batch.history_mv(), mean_mv, sd_mv, self.window_set.rate_hz).drawn(_SEED + number)
            history_z = (fault(shown) - batch.mean_mv[:, None]) / batch.sd_mv[:, None]
            corrupted = replace(batch, history_z=history_z)
            for name, of_recording in self._used.items():
                contender = of_recording(number)
                rows = [self.window_set.horizons.index(horizon) for horizon in contender.horizons]
                yield name, predict_mv(contender, corrupted), batch.target_mv()[:, rows]
