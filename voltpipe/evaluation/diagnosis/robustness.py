"""How much skill is left when what a forecaster is shown is not what it was trained on."""

from collections.abc import Mapping

import pandas as pd

from voltpipe.evaluation.diagnosis.corruption import corruptions_of
from voltpipe.evaluation.diagnosis.faulty import Fault, FaultyForecasts, nothing_wrong
from voltpipe.evaluation.scores import ErrorSums
from voltpipe.evaluation.verdict import NOTICEABLE_R2
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
    forecasts = FaultyForecasts(contenders, window_set)
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

    clean = r2_by_horizon(nothing_wrong)
    rows = [
        (corruption.name, corruption.unit, level, name, horizon, n_targets, r2)
        for corruption in corruptions_of(window_set)
        for level in corruption.levels
        for (name, horizon), r2 in (r2_by_horizon(corruption.at(level)) if level else clean).items()
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def breaking_levels(table: pd.DataFrame, forecaster: str, horizon: int) -> dict[str, float | None]:
    """The lowest level of each fault at which another contender is noticeably ahead; None where none ever is."""
    levels: dict[str, float | None] = {}
    for corruption, faulty in table[table["horizon"] == horizon].groupby("corruption", sort=False):
        r2 = faulty.pivot(index="level", columns="forecaster", values="r2")
        behind = r2.index[r2.drop(columns=forecaster).max(axis=1) > r2[forecaster] + NOTICEABLE_R2]
        levels[str(corruption)] = float(behind.min()) if len(behind) else None
    return levels
