"""Ablations: what is lost when a forecaster does not know the other channels, or not what was longer ago."""

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
"""One of so many groups of channels is kept, and scored, when the others are cut: small enough to hear little of it."""
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
    moments: ReplacementWindows,
    kept_ms: Sequence[float] = KEPT_MS,
) -> pd.DataFrame:
    """R2 that is lost at each horizon, with its 95 % interval.

    Rows `coupling`: the histories of the other channels are those of another moment; with more than ten channels a
    tenth of them is kept together, and hears itself. Rows `history`: all that lies further back than `kept_ms` is what
    might have been (see `Moments.other_past_z`); times that reach beyond the windows are left out. `unit` is what the
    interval takes to vary: recordings, or blocks of windows where there are few of them.

    Args:
        used: gives the forecaster for a recording, by its number.
        horizons: of its forecasts.
        moments: the windows.
        kept_ms: how much of the history is kept.
    """
    unit, units = units_of(moments)
    forecast_mv = moments.forecast_mv(used, moments.batch.history_z, np.arange(len(moments)))

    def lost(
        ablation: str,
        kept: float,
        rows: Int64[np.ndarray, " history"],
        histories_z: Float[Tensor, "draw history context channel"],
        counted: Float[Tensor, "history channel"],
    ) -> pd.DataFrame:
        without_mv = torch.stack([moments.forecast_mv(used, history_z, rows) for history_z in histories_z])
        found: Iterator[R2Drop] = r2_drops(moments, horizons, rows, forecast_mv[rows], without_mv, counted, units[rows])
        return pd.DataFrame(found).assign(ablation=ablation, kept_ms=kept, n_windows=len(np.unique(rows)))

    parts = []
    if moments.window_set.n_channels > 1:
        rows, kept = _kept_channels(moments)
        histories_z = torch.where(kept[:, None] > 0, moments.batch.history_z[rows], moments.elsewhere_z()[:, rows])
        parts.append(lost(COUPLING, np.nan, rows, histories_z, kept))
    rows = np.arange(0, len(moments), 2)  # every channel is scored, so fewer windows do
    everything = torch.ones(len(rows), moments.window_set.n_channels)
    for n_kept, ms in kept_samples(moments.window_set, kept_ms).items():
        parts.append(lost(HISTORY, ms, rows, moments.other_past_z(n_kept)[:, rows], everything))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table.assign(unit=unit).reindex(columns=list(_COLUMNS))


def kept_samples(window_set: WindowSet, kept_ms: Sequence[float] = KEPT_MS) -> dict[int, float]:
    """Numbers of samples within a window's history, with how long they take in ms: about as long as is asked for."""
    numbers = sorted({round(ms / 1000 * window_set.rate_hz) for ms in kept_ms})
    return {number: 1000 * number / window_set.rate_hz for number in numbers if 0 < number < window_set.context}


def _kept_channels(
    moments: ReplacementWindows,
) -> tuple[Int64[np.ndarray, " history"], Float[Tensor, "history channel"]]:
    """Return the window of each history, and a mask of the channels that it keeps."""
    n_channels = moments.window_set.n_channels
    n_groups = min(_GROUPS, n_channels)
    rows = np.repeat(np.arange(len(moments)), min(_GROUPS_TRIED, n_groups))
    group = torch.arange(len(rows)) % n_groups
    return rows, (torch.arange(n_channels) % n_groups == group[:, None]).float()
