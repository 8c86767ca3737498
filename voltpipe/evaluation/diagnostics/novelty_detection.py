"""Test of novelty detection: how well corrupted windows are separated from clean ones."""

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
_CLEAN_WINDOWS, _CORRUPTED_WINDOWS = 1000, 100
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

_NoveltyScores = Float64[np.ndarray, " _"]


def novelty_detection_table(forecaster: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Test how well corrupted windows of the strictest regime are separated from clean ones.

    There is one row for each corruption, level and share of false alarms, with the share of corrupted windows that are
    recognised (`recognised`). One row of each level is at the forecaster's own novelty limit (`is_limit`). `auc` is the
    probability that a corrupted window has a higher score than a clean one. The row `CLEAN` has the share of clean
    windows above the limit.

    Args:
        forecaster: a forecaster; without a novelty detector the table is empty.
        window_set: window set with held-out windows.
    """
    familiarity = forecaster.familiarity
    if familiarity is None:
        return pd.DataFrame(columns=list(_COLUMNS))
    _, windows = strictest_regime_windows(forecaster, window_set)

    def histories_mv(some: Int64[np.ndarray, " window"]) -> list[torch.Tensor]:
        return [window_set.batch(positions).history_mv() for positions in batches_by_recording(some, window_set)]

    def scores(histories: list[torch.Tensor]) -> _NoveltyScores:
        return torch.cat([familiarity.judge(history_mv).score for history_mv in histories]).double().numpy()

    clean = scores(histories_mv(evenly_spaced(windows, _CLEAN_WINDOWS)))
    inputs = [
        CorruptedInputs(history_mv, window_set.train_mean_mv(), window_set.calibration_mv(0)[1], window_set.rate_hz)
        for history_mv in histories_mv(evenly_spaced(windows, _CORRUPTED_WINDOWS))
    ]
    above = float((clean > 1).mean())
    rows: list[tuple[object, ...]] = [(CLEAN, "", 0.0, 0.5, above, above, True, len(clean), len(clean))]
    for corruption in corruptions_of(window_set):
        for level in corruption.levels[1:]:
            corrupted = scores([corruption.apply(each.with_seed(_SEED + n), level) for n, each in enumerate(inputs)])
            rows += [
                (corruption.name, corruption.unit, level, _auc(corrupted, clean), *point, len(corrupted), len(clean))
                for point in [*_roc(corrupted, clean), (above, float((corrupted > 1).mean()), True)]
            ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _auc(corrupted: _NoveltyScores, clean: _NoveltyScores) -> float:
    """Return the area under the ROC curve, from ranks (Mann and Whitney's U)."""
    ranks = rankdata(np.concatenate([corrupted, clean]))[: len(corrupted)]
    return float((ranks.sum() - len(corrupted) * (len(corrupted) + 1) / 2) / (len(corrupted) * len(clean)))


def _roc(corrupted: _NoveltyScores, clean: _NoveltyScores) -> list[tuple[float, float, bool]]:
    """Return the recognized share at each share of false alarms; none of these points is the limit."""
    limits = np.quantile(clean, 1 - np.array(_FALSE_ALARMS))
    limits[-1] = -np.inf
    return [
        (share, float((corrupted > limit).mean()), False) for share, limit in zip(_FALSE_ALARMS, limits, strict=True)
    ]
