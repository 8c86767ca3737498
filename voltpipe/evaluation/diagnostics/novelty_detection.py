"""Novelty detection: how well corrupted inputs are distinguished from clean ones."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64
from scipy.stats import rankdata

from voltpipe.evaluation.batching import batches_by_recording
from voltpipe.evaluation.diagnostics.corruptions import CorruptedInputs, corruptions_of
from voltpipe.evaluation.held_out_windows import evenly_spaced, strictest_regime_windows
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

CLEAN = "nothing wrong"
_CLEAN_WINDOWS, _FAULTY_WINDOWS = 1000, 100
_FALSE_ALARMS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_SEED = 0
_COLUMNS = (
    "corruption",
    "unit",
    "level",
    "auc",
    "false_alarms",
    "recognised",
    "is_limit",
    "n_windows",
    "n_clean_windows",
)

Scores = Float64[np.ndarray, " _"]


def novelty_detection_table(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Measure how well corrupted held-out windows are distinguished from clean ones, in the strictest regime.

    The table has one row for each corruption, level and false-alarm rate, with the fraction of corrupted windows that
    are detected. `is_limit` marks the row of the forecaster's own limit. `auc` is the probability that a corrupted
    window scores higher than a clean one. The row `CLEAN` has the fraction of clean windows above the limit.

    Args:
        forecaster: a forecaster; without a novelty detector the table is empty.
        window_set: window set with held-out windows.
    """
    familiarity = forecaster.familiarity
    if familiarity is None:
        return pd.DataFrame(columns=list(_COLUMNS))
    _, windows = strictest_regime_windows(forecaster, window_set)

    def histories_mv(some: Int64[np.ndarray, " some"]) -> list[torch.Tensor]:
        return [window_set.batch(positions).history_mv() for positions in batches_by_recording(some, window_set)]

    def scores(of_mv: list[torch.Tensor]) -> Scores:
        return torch.cat([familiarity.judge(history_mv).score for history_mv in of_mv]).double().numpy()

    clean = scores(histories_mv(evenly_spaced(windows, _CLEAN_WINDOWS)))
    shown = [
        CorruptedInputs(history_mv, window_set.train_mean_mv(), window_set.calibration_mv(0)[1], window_set.rate_hz)
        for history_mv in histories_mv(evenly_spaced(windows, _FAULTY_WINDOWS))
    ]
    above = float((clean > 1).mean())
    rows: list[tuple[object, ...]] = [(CLEAN, "", 0.0, 0.5, above, above, True, len(clean), len(clean))]
    for corruption in corruptions_of(window_set):
        for level in corruption.levels[1:]:
            faulty = scores([corruption.apply(each.drawn(_SEED + n), level) for n, each in enumerate(shown)])
            rows += [
                (corruption.name, corruption.unit, level, _auc(faulty, clean), *point, len(faulty), len(clean))
                for point in [*_roc(faulty, clean), (above, float((faulty > 1).mean()), True)]
            ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _auc(faulty: Scores, clean: Scores) -> float:
    """The area under the ROC curve, from ranks (Mann and Whitney's U)."""
    ranks = rankdata(np.concatenate([faulty, clean]))[: len(faulty)]
    return float((ranks.sum() - len(faulty) * (len(faulty) + 1) / 2) / (len(faulty) * len(clean)))


def _roc(faulty: Scores, clean: Scores) -> list[tuple[float, float, bool]]:
    """The share that is recognised at each share of false alarms."""
    limits = np.quantile(clean, 1 - np.array(_FALSE_ALARMS))
    limits[-1] = -np.inf
    return [(share, float((faulty > limit).mean()), False) for share, limit in zip(_FALSE_ALARMS, limits, strict=True)]
