"""How much skill is left when what a forecaster is shown is not what it was trained on."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from voltpipe.evaluation.detail import predict_mv
from voltpipe.evaluation.diagnosis.corruption import CORRUPTIONS, Corruption, Shown
from voltpipe.evaluation.held_out import as_used, evenly, strictest_windows
from voltpipe.evaluation.scores import ErrorSums
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

_MOST_WINDOWS = 60
_SEED = 0
_COLUMNS = ("corruption", "unit", "level", "forecaster", "horizon", "n_targets", "r2")


def robustness(contenders: Mapping[str, Forecaster], window_set: WindowSet) -> pd.DataFrame:
    """R2 of each contender by kind of fault, level and horizon, each contender being shown the same.

    Some windows of the strictest regime are corrupted; the truth is not. At level 0 nothing is wrong.

    Args:
        contenders: by name, the forecaster first.
        window_set: with held-out windows.
    """
    first = next(iter(contenders.values()))
    regime, windows = strictest_windows(first, window_set)
    windows = evenly(windows, _MOST_WINDOWS)
    used = {name: as_used(contender, window_set, regime) for name, contender in contenders.items()}
    recordings = window_set.index["recording"][windows]
    batches = {int(number): window_set.batch(windows[recordings == number]) for number in np.unique(recordings)}
    mean_mv, sd_mv = window_set.train_mean_mv(), window_set.calibration_mv(0)[1]

    def r2_by_horizon(corruption: Corruption, level: float) -> dict[tuple[str, int], float]:
        sums = {name: ErrorSums(len(each.horizons), mean_mv) for name, each in contenders.items()}
        for number, batch in batches.items():
            shown = Shown(batch.history_mv(), mean_mv, sd_mv, window_set.rate_hz).drawn(_SEED + number)
            corrupted_mv = corruption.apply(shown, level) if level else shown.history_mv
            history_z = (corrupted_mv - batch.mean_mv[:, None]) / batch.sd_mv[:, None]
            corrupted = replace(batch, history_z=history_z)
            for name, of_recording in used.items():
                contender = of_recording(number)
                truth_mv = batch.target_mv()[:, [window_set.horizons.index(h) for h in contender.horizons]]
                sums[name].add(predict_mv(contender, corrupted), truth_mv)
        return {
            (name, horizon): r2
            for name, contender in contenders.items()
            for horizon, r2 in zip(contender.horizons, sums[name].r2(), strict=True)
        }

    n_targets = len(windows) * window_set.n_channels
    clean = r2_by_horizon(CORRUPTIONS[0], 0.0)
    rows = [
        (corruption.name, corruption.unit, level, name, horizon, n_targets, r2)
        for corruption in CORRUPTIONS
        for level in corruption.levels
        for (name, horizon), r2 in (r2_by_horizon(corruption, level) if level else clean).items()
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def breaking_levels(table: pd.DataFrame, forecaster: str, horizon: int) -> dict[str, float | None]:
    """The lowest level of each fault at which another contender is ahead; None where the forecaster stays ahead."""
    levels: dict[str, float | None] = {}
    for corruption, faulty in table[table["horizon"] == horizon].groupby("corruption", sort=False):
        r2 = faulty.pivot(index="level", columns="forecaster", values="r2")
        behind = r2.index[r2.drop(columns=forecaster).max(axis=1) > r2[forecaster]]
        levels[str(corruption)] = float(behind.min()) if len(behind) else None
    return levels
