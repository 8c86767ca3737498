"""Loss of skill under corrupted inputs, and from a single bad channel."""

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

DEAD, SWAPPED = "one dead channel", "two swapped channels"
_MOST_WINDOWS = 60
_SEED = 0
_TRIALS = 3
_COLUMNS = ("corruption", "unit", "level", "forecaster", "horizon", "n_targets", "r2")
_BAD_CHANNEL_COLUMNS = ("fault", "planted", "channel", "is_planted", "clean_rmse_mv", "rmse_mv", "n_windows")
ForecastMv = Float[Tensor, "_ horizon channel"]
Corrupt = Callable[[CorruptedInputs], Tensor]
"""Function that returns corrupted histories, in mV."""


def robustness(forecasters: Mapping[str, Forecaster], window_set: WindowSet) -> pd.DataFrame:
    """Return R2 of each forecaster by corruption, level and horizon. All forecasters get the same inputs.

    The histories of some windows of the strictest regime are corrupted; the truth is not. At level 0 nothing is
    corrupted.

    Args:
        forecasters: forecasters by name, the evaluated one first.
        window_set: window set with held-out windows.
    """
    forecasts = CorruptedForecasts(forecasters, window_set)
    n_targets = forecasts.n_windows * window_set.n_channels

    def r2_by_horizon(corrupt: Corrupt) -> dict[tuple[str, int], float]:
        sums = {name: ErrorSums(len(each.horizons), window_set.train_mean_mv()) for name, each in forecasters.items()}
        for name, forecast_mv, truth_mv in forecasts.after(corrupt):
            sums[name].add(forecast_mv, truth_mv)
        return {
            (name, horizon): r2
            for name, each in forecasters.items()
            for horizon, r2 in zip(each.horizons, sums[name].r2(), strict=True)
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
    """Return the lowest level of each corruption at which another forecaster is noticeably ahead; None if none is."""
    levels: dict[str, float | None] = {}
    for corruption, faulty in table[table["horizon"] == horizon].groupby("corruption", sort=False):
        r2 = faulty.pivot(index="level", columns="forecaster", values="r2")
        behind = r2.index[r2.drop(columns=forecaster).max(axis=1) > r2[forecaster] + NOTICEABLE_R2]
        levels[str(corruption)] = float(behind.min()) if len(behind) else None
    return levels


def bad_channels(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Return RMSE of each channel at the shortest horizon while one channel is bad, for a few bad channels in turn.

    The channel `planted` is constant at its training mean, or is swapped with the next channel. The truth does not
    change. `is_planted` marks the one or two bad channels.

    Args:
        forecaster: the forecaster, which is named after its architecture.
        window_set: window set with held-out windows. If it has one channel, the table is empty.
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
    """Return one row for each fault and planted channel.

    `found` says whether the bad channels have the largest errors. `clean_rmse_mv` and `rmse_mv` are their errors, and
    `others_lose` is the relative increase of the mean squared error of all other channels.
    """
    rows = []
    for (fault, planted), trial in table.groupby(["fault", "planted"], sort=False):
        bad, others = trial[trial["is_planted"]], trial[~trial["is_planted"]]
        found = bool(bad["rmse_mv"].min() > others["rmse_mv"].max()) if len(others) else True
        lost = (others["rmse_mv"] ** 2).sum() / (others["clean_rmse_mv"] ** 2).sum() - 1
        rows.append((fault, planted, found, bad["clean_rmse_mv"].mean(), bad["rmse_mv"].mean(), lost))
    return pd.DataFrame(rows, columns=["fault", "planted", "found", "clean_rmse_mv", "rmse_mv", "others_lose"])


class CorruptedForecasts:
    """Forecasts of some windows of the strictest regime, from corrupted histories.

    Args:
        forecasters: forecasters by name, the evaluated one first. All get the same inputs.
        window_set: window set with held-out windows.
    """

    def __init__(self, forecasters: Mapping[str, Forecaster], window_set: WindowSet) -> None:
        regime, windows = strictest_regime_windows(next(iter(forecasters.values())), window_set)
        windows = evenly_spaced(windows, _MOST_WINDOWS)
        self.window_set, self.forecasters = window_set, forecasters
        self.n_windows = len(windows)
        self._used = {name: forecaster_for_regime(each, window_set, regime) for name, each in forecasters.items()}
        recordings = window_set.index["recording"][windows]
        self._batches = {int(n): window_set.batch(windows[recordings == n]) for n in np.unique(recordings)}

    def after(self, corrupt: Corrupt) -> Iterator[tuple[str, ForecastMv, ForecastMv]]:
        """Yield the name, forecasts and truth, in mV, of each forecaster on each recording in turn."""
        mean_mv, sd_mv = self.window_set.train_mean_mv(), self.window_set.calibration_mv(0)[1]
        for number, batch in self._batches.items():
            inputs = CorruptedInputs(batch.history_mv(), mean_mv, sd_mv, self.window_set.rate_hz).with_seed(
                _SEED + number
            )
            history_z = (corrupt(inputs) - batch.mean_mv[:, None]) / batch.sd_mv[:, None]
            corrupted = replace(batch, history_z=history_z)
            for name, of_recording in self._used.items():
                used = of_recording(number)
                rows = [self.window_set.horizons.index(horizon) for horizon in used.horizons]
                yield name, predict_mv(used, corrupted), batch.target_mv()[:, rows]


def no_corruption(inputs: CorruptedInputs) -> Tensor:
    """Return the histories as recorded."""
    return inputs.history_mv


def _with_bad(inputs: CorruptedInputs, bad: tuple[int, ...]) -> Tensor:
    """Return histories with one channel at its training mean, or with two channels swapped."""
    history_mv = inputs.history_mv.clone()
    history_mv[..., list(bad)] = inputs.mean_mv[bad[0]] if len(bad) == 1 else inputs.history_mv[..., list(bad[::-1])]
    return history_mv


def _rmse_mv(forecasts: CorruptedForecasts, corrupt: Corrupt) -> list[float]:
    """Return RMSE of each channel, in mV."""
    squared = [
        (forecast_mv[:, 0] - truth_mv[:, 0]).double().square() for _, forecast_mv, truth_mv in forecasts.after(corrupt)
    ]
    of_channels: list[float] = torch.cat(squared).mean(0).sqrt().tolist()
    return of_channels
