"""Ablations: R2 that a forecaster loses without the other channels, or without older samples."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.evaluation.interpretation.input_replacement import R2Drop, ReplacementWindows, r2_drops, units_of
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

COUPLING, HISTORY = "coupling", "history"
KEPT_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)

_GROUPS = 10
"""Number of groups of channels. One group is kept and scored while the others are replaced; a small group tells
little about itself."""
_GROUPS_TRIED = 3
_COLUMNS = (
    "ablation",
    "kept_ms",
    "horizon",
    "r2",
    "r2_moved",
    "r2_lost",
    "low",
    "high",
    "n_windows",
    "n_targets",
    "unit",
)


def ablation_table(
    used: Callable[[int], Forecaster],
    horizons: tuple[int, ...],
    windows: ReplacementWindows,
    kept_ms: Sequence[float] = KEPT_MS,
) -> pd.DataFrame:
    """Return the loss of R2 at each horizon, with its 95 % interval.

    - Rows `coupling`: the other channels are replaced by their histories at another time. With more than ten channels,
      a tenth of them is kept together, so these channels still know each other.
    - Rows `history`: samples older than `kept_ms` are replaced (see `ReplacementWindows.other_past_z`). Durations
      longer than the windows are left out.

    `unit` is the unit of the bootstrap: recordings, or blocks of windows if there are few recordings.

    Args:
        used: function from a recording's number to the forecaster for it.
        horizons: horizons of the forecaster, in samples.
        windows: the windows.
        kept_ms: durations of history to keep, in ms.
    """
    unit, units = units_of(windows)
    forecast_mv = windows.forecast_mv(used, windows.batch.history_z, np.arange(len(windows)))

    def lost(
        ablation: str,
        kept: float,
        rows: Int64[np.ndarray, " history"],
        histories_z: Float[Tensor, "draw history context channel"],
        counted: Float[Tensor, "history channel"],
    ) -> pd.DataFrame:
        without_mv = torch.stack([windows.forecast_mv(used, history_z, rows) for history_z in histories_z])
        found: Iterator[R2Drop] = r2_drops(windows, horizons, rows, forecast_mv[rows], without_mv, counted, units[rows])
        return pd.DataFrame(found).assign(ablation=ablation, kept_ms=kept, n_windows=len(np.unique(rows)))

    parts = []
    if windows.window_set.n_channels > 1:
        rows, kept = _kept_channels(windows)
        histories_z = torch.where(kept[:, None] > 0, windows.batch.history_z[rows], windows.elsewhere_z()[:, rows])
        parts.append(lost(COUPLING, np.nan, rows, histories_z, kept))
    rows = np.arange(0, len(windows), 2)  # half the windows suffice, because every channel is scored
    everything = torch.ones(len(rows), windows.window_set.n_channels)
    for n_kept, ms in kept_samples(windows.window_set, kept_ms).items():
        parts.append(lost(HISTORY, ms, rows, windows.other_past_z(n_kept)[:, rows], everything))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table.assign(unit=unit).reindex(columns=list(_COLUMNS))


def kept_samples(window_set: WindowSet, kept_ms: Sequence[float] = KEPT_MS) -> dict[int, float]:
    """Return numbers of samples shorter than a window's history, close to `kept_ms`, with their durations in ms."""
    numbers = sorted({round(ms / 1000 * window_set.rate_hz) for ms in kept_ms})
    return {number: 1000 * number / window_set.rate_hz for number in numbers if 0 < number < window_set.context}


def _kept_channels(
    windows: ReplacementWindows,
) -> tuple[Int64[np.ndarray, " history"], Float[Tensor, "history channel"]]:
    """Return the window of each history, and a mask (1 or 0) of the channels that are kept in it."""
    n_channels = windows.window_set.n_channels
    n_groups = min(_GROUPS, n_channels)
    rows = np.repeat(np.arange(len(windows)), min(_GROUPS_TRIED, n_groups))
    group = torch.arange(len(rows)) % n_groups
    return rows, (torch.arange(n_channels) % n_groups == group[:, None]).float()
