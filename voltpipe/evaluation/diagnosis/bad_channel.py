"""What one bad channel costs: itself, and those that hear it."""

from functools import partial

import pandas as pd
import torch
from torch import Tensor

from voltpipe.evaluation.diagnosis.corruption import Shown
from voltpipe.evaluation.diagnosis.faulty import Fault, FaultyForecasts, nothing_wrong
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

DEAD, SWAPPED = "one dead channel", "two swapped channels"
_TRIALS = 3
_COLUMNS = ("fault", "planted", "channel", "is_planted", "clean_rmse_mv", "rmse_mv", "n_windows")


def bad_channels(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """RMSE of each channel at the shortest horizon while one channel is bad, some channels one after the other.

    The channel `planted` stands at its training mean, or changes places with the next; the truth does not. So
    `is_planted` are one channel or two.

    Args:
        forecaster: is named by its architecture.
        window_set: with held-out windows, of two channels at least; else the table is empty.
    """
    forecasts = FaultyForecasts({forecaster.config.architecture: forecaster}, window_set)
    names, n_channels = window_set.channel_names, window_set.n_channels
    clean_mv = _rmse_mv(forecasts, nothing_wrong)
    rows: list[tuple[object, ...]] = []
    for planted in sorted({(2 * trial + 1) * n_channels // (2 * _TRIALS) for trial in range(_TRIALS)}):
        for fault, bad in ((DEAD, (planted,)), (SWAPPED, (planted, (planted + 1) % n_channels))):
            faulty_mv = _rmse_mv(forecasts, partial(_with_bad, bad=bad))
            rows += [
                (fault, names[planted], name, number in bad, clean, faulty, forecasts.n_windows)
                for number, (name, clean, faulty) in enumerate(zip(names, clean_mv, faulty_mv, strict=True))
            ]
    return pd.DataFrame(rows if n_channels > 1 else [], columns=list(_COLUMNS))


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


def _with_bad(shown: Shown, bad: tuple[int, ...]) -> Tensor:
    """One channel dead, or two in each other's place."""
    history_mv = shown.history_mv.clone()
    history_mv[..., list(bad)] = shown.mean_mv[bad[0]] if len(bad) == 1 else shown.history_mv[..., list(bad[::-1])]
    return history_mv


def _rmse_mv(forecasts: FaultyForecasts, fault: Fault) -> list[float]:
    """Of each channel."""
    squared = [
        (forecast_mv[:, 0] - truth_mv[:, 0]).double().square() for _, forecast_mv, truth_mv in forecasts.after(fault)
    ]
    of_channels: list[float] = torch.cat(squared).mean(0).sqrt().tolist()
    return of_channels
