"""Robustness: errors under corruptions, and the cost of one bad channel."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.evaluation.accumulators import ErrorSums
from voltpipe.evaluation.batching import predict_mv
from voltpipe.evaluation.diagnostics.corruptions import CorruptedInputs, corruptions_of
from voltpipe.evaluation.held_out_windows import evenly_spaced, forecaster_for_regime, strictest_regime_windows
from voltpipe.evaluation.results import NOTICEABLE_R2
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

_COLUMNS = ("corruption", "unit", "level", "forecaster", "horizon", "n_targets", "r2")


def robustness(contenders: Mapping[str, Forecaster], window_set: WindowSet) -> pd.DataFrame:
    """R2 of each contender by kind of fault, level and horizon, each contender being shown the same.

    Some windows of the strictest regime are corrupted; the truth is not. At level 0 nothing is wrong.

    Args:
        contenders: by name, the forecaster first.
        window_set: with held-out windows.
    """
    forecasts = CorruptedForecasts(contenders, window_set)
    n_targets = forecasts.n_windows * window_set.n_channels

    def r2_by_horizon(fault: Fault) -> dict[tuple[str, int], float]:
        sums = {name: ErrorSums(len(each.horizons), window_set.train_mean_mv()) for name, each in contenders.items()}
        for name, forecast_mv, truth_mv in forecasts.after(fault):
            sums[name].add(forecast_mv, truth_mv)
        return {
            (name, horizon): r2
            for name, contender in contenders.items()
            for horizon, r2 in zip(contender.horizons, sums[name].r2(), strict=True)
        }

    clean = r2_by_horizon(no_corruption)
    rows = [
        (corruption.name, corruption.unit, level, name, horizon, n_targets, r2)
        for corruption in corruptions_of(window_set)
        for level in corruption.levels
        for (name, horizon), r2 in (r2_by_horizon(corruption.at(level)) if level else clean).items()
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def failure_levels(table: pd.DataFrame, forecaster: str, horizon: int) -> dict[str, float | None]:
    """The lowest level of each fault at which another contender is noticeably ahead; None where none ever is."""
    levels: dict[str, float | None] = {}
    for corruption, faulty in table[table["horizon"] == horizon].groupby("corruption", sort=False):
        r2 = faulty.pivot(index="level", columns="forecaster", values="r2")
        behind = r2.index[r2.drop(columns=forecaster).max(axis=1) > r2[forecaster] + NOTICEABLE_R2]
        levels[str(corruption)] = float(behind.min()) if len(behind) else None
    return levels


_MOST_WINDOWS = 60
_SEED = 0

ForecastMv = Float[Tensor, "_ horizon channel"]
Fault = Callable[[CorruptedInputs], Tensor]
"""Gives histories with something wrong with them."""


def no_corruption(shown: CorruptedInputs) -> Tensor:
    """The histories as they were recorded."""
    return shown.history_mv


class CorruptedForecasts:
    """Forecasts of some windows of the strictest regime, after whatever is done to their histories.

    Args:
        contenders: by name, the forecaster first; all are shown the same.
        window_set: with held-out windows.
    """

    def __init__(self, contenders: Mapping[str, Forecaster], window_set: WindowSet) -> None:
        regime, windows = strictest_regime_windows(next(iter(contenders.values())), window_set)
        windows = evenly_spaced(windows, _MOST_WINDOWS)
        self.window_set, self.contenders = window_set, contenders
        self.n_windows = len(windows)
        self._used = {
            name: forecaster_for_regime(contender, window_set, regime) for name, contender in contenders.items()
        }
        recordings = window_set.index["recording"][windows]
        self._batches = {int(n): window_set.batch(windows[recordings == n]) for n in np.unique(recordings)}

    def after(self, fault: Fault) -> Iterator[tuple[str, ForecastMv, ForecastMv]]:
        """Yield name, forecasts and truth in mV of each forecaster, recording by recording."""
        mean_mv, sd_mv = self.window_set.train_mean_mv(), self.window_set.calibration_mv(0)[1]
        for number, batch in self._batches.items():
            shown = CorruptedInputs(batch.history_mv(), mean_mv, sd_mv, self.window_set.rate_hz).drawn(_SEED + number)
            history_z = (fault(shown) - batch.mean_mv[:, None]) / batch.sd_mv[:, None]
            corrupted = replace(batch, history_z=history_z)
            for name, of_recording in self._used.items():
                contender = of_recording(number)
                rows = [self.window_set.horizons.index(horizon) for horizon in contender.horizons]
                yield name, predict_mv(contender, corrupted), batch.target_mv()[:, rows]


DEAD, SWAPPED = "one dead channel", "two swapped channels"
_TRIALS = 3
_BAD_CHANNEL_COLUMNS = ("fault", "planted", "channel", "is_planted", "clean_rmse_mv", "rmse_mv", "n_windows")


def bad_channels(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Measure the RMSE of each channel at the shortest horizon while one channel is bad, for several channels in turn.

    The channel `planted` stays at its training mean, or is swapped with the next one. The truth does not change. So
    `is_planted` marks one or two channels.

    Args:
        forecaster: named by its architecture.
        window_set: window set with held-out windows. With a single channel the table is empty.
    """
    forecasts = CorruptedForecasts({forecaster.config.architecture: forecaster}, window_set)
    names, n_channels = window_set.channel_names, window_set.n_channels
    clean_mv = _rmse_mv(forecasts, no_corruption)
    rows: list[tuple[object, ...]] = []
    for planted in sorted({(2 * trial + 1) * n_channels // (2 * _TRIALS) for trial in range(_TRIALS)}):
        for fault, bad in ((DEAD, (planted,)), (SWAPPED, (planted, (planted + 1) % n_channels))):
            faulty_mv = _rmse_mv(forecasts, partial(_with_bad, bad=bad))
            rows += [
                (fault, names[planted], name, number in bad, clean, faulty, forecasts.n_windows)
                for number, (name, clean, faulty) in enumerate(zip(names, clean_mv, faulty_mv, strict=True))
            ]
    return pd.DataFrame(rows if n_channels > 1 else [], columns=list(_BAD_CHANNEL_COLUMNS))


def planted_ranks(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each fault and planted channel.

    `found` says whether the channels at fault come out first in errors by channel; `clean_rmse_mv` and `rmse_mv` are
    theirs, and `others_lose` is the share by which the mean squared error of all other channels grew.
    """
    rows = []
    for (fault, planted), trial in table.groupby(["fault", "planted"], sort=False):
        bad, others = trial[trial["is_planted"]], trial[~trial["is_planted"]]
        found = bool(bad["rmse_mv"].min() > others["rmse_mv"].max()) if len(others) else True
        lost = (others["rmse_mv"] ** 2).sum() / (others["clean_rmse_mv"] ** 2).sum() - 1
        rows.append((fault, planted, found, bad["clean_rmse_mv"].mean(), bad["rmse_mv"].mean(), lost))
    return pd.DataFrame(rows, columns=["fault", "planted", "found", "clean_rmse_mv", "rmse_mv", "others_lose"])


def _with_bad(shown: CorruptedInputs, bad: tuple[int, ...]) -> Tensor:
    """One channel dead, or two in each other's place."""
    history_mv = shown.history_mv.clone()
    history_mv[..., list(bad)] = shown.mean_mv[bad[0]] if len(bad) == 1 else shown.history_mv[..., list(bad[::-1])]
    return history_mv


def _rmse_mv(forecasts: CorruptedForecasts, fault: Fault) -> list[float]:
    """Return the RMSE of each channel in mV."""
    squared = [
        (forecast_mv[:, 0] - truth_mv[:, 0]).double().square() for _, forecast_mv, truth_mv in forecasts.after(fault)
    ]
    of_channels: list[float] = torch.cat(squared).mean(0).sqrt().tolist()
    return of_channels
