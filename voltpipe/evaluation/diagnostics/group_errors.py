"""Errors by group of targets, with intervals."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from scipy.special import ndtri
from torch import Tensor

from voltpipe.evaluation.batching import batches_by_recording, predict_mv
from voltpipe.evaluation.bootstrap import times_drawn
from voltpipe.evaluation.diagnostics.groups import Grouping, TargetTimes, groupings
from voltpipe.evaluation.figure_data import band_mv
from voltpipe.evaluation.held_out_windows import forecaster_for_regime, strictest_regime_windows
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.simulation.ceiling import irreducible_error_mv2
from voltpipe.windows.window_set import WindowSet

_BLOCKS_PER_RECORDING = 10
"""Number of blocks per recording. Errors within a block are correlated, so blocks are resampled."""
_RESAMPLES = 500
_INTERVAL = (0.025, 0.975)


class GroupErrors:
    """Accumulator of errors over the targets of each group.

    Args:
        window_set: window set whose held-out windows are scored.
        groupings: the ways to divide targets.
        horizons: horizons in samples.
        contenders: names of the forecasters.
    """

    def __init__(
        self, window_set: WindowSet, groupings: Sequence[Grouping], horizons: Sequence[int], contenders: Sequence[str]
    ) -> None:
        self._window_set, self._groupings = window_set, tuple(groupings)
        self._horizons, self._contenders = tuple(horizons), tuple(contenders)
        self._first_group = np.cumsum([0, *(len(grouping.names) for grouping in groupings)])
        self._blocks: dict[tuple[int, int], np.ndarray] = {}

    def add(
        self,
        moments: TargetTimes,
        forecasts_mv: Mapping[str, Float[Tensor, "window horizon channel"]],
        truth_mv: Float[Tensor, "window horizon channel"],
        *,
        bands_mv: Mapping[str, Float[Tensor, "2 window horizon channel"]] | None = None,
        least_mv2: Float[Tensor, "window horizon channel"] | None = None,
    ) -> None:
        """Add windows of one recording, and the forecasts of each forecaster.

        Args:
            moments: the windows.
            forecasts_mv: forecasts by forecaster.
            truth_mv: recorded voltages.
            bands_mv: bounds of the 80 % interval, for forecasters that have one.
            least_mv2: expected squared error of the best possible forecast, if known.
        """
        if not self._groupings:
            return
        groups = torch.stack([each.group_of(moments) for each in self._groupings])
        groups = groups + torch.from_numpy(self._first_group[:-1])[:, None, None]
        blocks, block_of = self._blocks_of(moments)
        n_groups = int(self._first_group[-1])
        places = (torch.from_numpy(block_of)[:, None] * n_groups + groups).flatten()

        def summed(values: Float[Tensor, "window channel"]) -> np.ndarray:
            repeated = values.double().expand(len(self._groupings), -1, -1).reshape(-1)
            sums = torch.bincount(places, weights=repeated, minlength=len(blocks) * n_groups)
            return np.asarray(sums.reshape(len(blocks), n_groups).numpy())

        deviation_mv = truth_mv - self._window_set.train_mean_mv()
        found = np.empty((len(blocks), len(self._contenders), len(self._horizons), len(_SUMS), n_groups))
        for row in range(len(self._horizons)):
            found[:, :, row, _COUNT] = summed(torch.ones_like(truth_mv[:, row]))[:, None]
            found[:, :, row, _TOTAL] = summed(deviation_mv[:, row].square())[:, None]
            found[:, :, row, _LEAST] = np.nan if least_mv2 is None else summed(least_mv2[:, row])[:, None]
            for number, name in enumerate(self._contenders):
                error_mv = forecasts_mv[name][:, row] - truth_mv[:, row]
                found[:, number, row, _SQUARED] = summed(error_mv.square())
                found[:, number, row, _ERROR] = summed(error_mv)
                found[:, number, row, _INSIDE] = np.nan
                if bands_mv and name in bands_mv:
                    low_mv, high_mv = bands_mv[name][:, :, row]
                    inside = (low_mv < truth_mv[:, row]) & (truth_mv[:, row] <= high_mv)
                    found[:, number, row, _INSIDE] = summed(inside.float())
        for block, sums in zip(blocks, found, strict=True):
            key = moments.recording, int(block)
            self._blocks[key] = self._blocks[key] + sums if key in self._blocks else sums

    def _blocks_of(self, moments: TargetTimes) -> tuple[np.ndarray, np.ndarray]:
        """Return the blocks of a recording that have windows, and the position of each window's block among them."""
        recording = self._window_set.recordings[moments.recording]
        n_rows = recording.stop_row - recording.start_row
        blocks, block_of = np.unique(
            (moments.origin_rows - recording.start_row) * _BLOCKS_PER_RECORDING // n_rows, return_inverse=True
        )
        return blocks, block_of

    def table(self) -> pd.DataFrame:
        """Return one row for each group, forecaster and horizon that has targets.

        `kind` and `group` name the group. `horizon` is in samples. `r2` (about the training mean of each channel),
        `rmse_mv`, `bias_mv` (mean of forecast minus truth), `coverage80` (fraction of truths inside the 80 % interval)
        and `loss_mv2` (mean squared error above that of the best possible forecast) have 95 % intervals, `_low` and
        `_high`, from a bootstrap over tenths of recordings (Kuensch, Annals of Statistics 17, 1989). `ceiling_r2` is
        the R2 of the best possible forecast. `share_of_targets`, `share_of_error` and `share_of_loss` are the fractions
        of all targets, squared error and loss of the same kind. Unknown values are NaN: for forecasters without a
        distribution, or recordings that are not simulated.
        """
        parts = [pd.DataFrame(columns=list(_COLUMNS))]
        if self._blocks:
            blocks = np.stack(list(self._blocks.values()))
            parts = [
                self._rows(grouping, blocks[..., first:stop])
                for grouping, (first, stop) in zip(self._groupings, pairwise(self._first_group), strict=True)
            ]
        return pd.concat(parts, ignore_index=True)[list(_COLUMNS)].astype(_COLUMNS)

    def _rows(
        self, grouping: Grouping, blocks: Float64[np.ndarray, "block contender horizon sum group"]
    ) -> pd.DataFrame:
        drawn = times_drawn(len(blocks), _RESAMPLES)
        whole = blocks.sum(0)
        count, squared, least = (whole[:, :, part] for part in (_COUNT, _SQUARED, _LEAST))
        with np.errstate(divide="ignore", invalid="ignore"):
            ceiling_r2 = 1 - least / whole[:, :, _TOTAL]
        places = np.nonzero(count)
        contenders, horizons, groups = places
        scores = {name: values[places] for name, values in _scores(whole).items()}
        resampled = _scores(np.tensordot(drawn.astype(float), blocks, axes=1))
        bounds = {name: _interval(values[:, contenders, horizons, groups]) for name, values in resampled.items()}
        return pd.DataFrame(
            {
                "kind": grouping.kind,
                "group": np.array(grouping.names)[groups],
                "forecaster": np.array(self._contenders)[contenders],
                "horizon": np.array(self._horizons)[horizons],
                "n_targets": count[places],
                "share_of_targets": _share(count)[places],
                "share_of_error": _share(squared)[places],
                "share_of_loss": _share(squared - least)[places],
                "ceiling_r2": ceiling_r2[places],
                **scores,
                **{f"{name}_low": low for name, (low, _) in bounds.items()},
                **{f"{name}_high": high for name, (_, high) in bounds.items()},
            }
        )


def widening(n_groups: int | pd.Series) -> float | pd.Series:
    """Return the factor by which intervals widen to hold for several groups at once (Bonferroni)."""
    return ndtri(1 - _INTERVAL[0] / n_groups) / ndtri(1 - _INTERVAL[0])


def out_of_proportion(table: pd.DataFrame) -> pd.Series:
    """Return the lower bound of a group's excess: its share of the loss minus its share of the targets.

    The loss is counted from the best possible forecast if known, else from the truth. The bound is lowered for the
    number of groups of the kind (Bonferroni), because the largest is looked for.

    Args:
        table: rows of a table of errors by group, of one forecaster and horizon.
    """
    loss = table["loss_mv2"].fillna(table["rmse_mv"] ** 2)
    low = table["loss_mv2_low"].fillna(table["rmse_mv_low"] ** 2)
    n_groups = table["kind"].map(table["kind"].value_counts())
    least = loss - (loss - low) * widening(n_groups)
    whole = (loss * table["n_targets"]).groupby(table["kind"]).transform("sum")
    return least * table["n_targets"] / whole.where(whole > 0) - table["share_of_targets"]


_SUMS = ("count", "total", "squared", "error", "inside", "least")
_COUNT, _TOTAL, _SQUARED, _ERROR, _INSIDE, _LEAST = range(len(_SUMS))
_SCORES = ("r2", "rmse_mv", "bias_mv", "coverage80", "loss_mv2")
_COLUMNS = {
    "kind": "str",
    "group": "str",
    "forecaster": "str",
    "horizon": "int64",
    "n_targets": "int64",
    "share_of_targets": "float64",
    "share_of_error": "float64",
    "share_of_loss": "float64",
    "ceiling_r2": "float64",
    **{f"{score}{end}": "float64" for score in _SCORES for end in ("", "_low", "_high")},
}


def _scores(sums: Float64[np.ndarray, "*any horizon sum group"]) -> dict[str, np.ndarray]:
    """NaN where a group has no targets."""
    count, total, squared, error, inside, least = np.moveaxis(sums, -2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2, rmse_mv = 1 - squared / total, np.sqrt(squared / count)
        figures = (r2, rmse_mv, error / count, inside / count, (squared - least) / count)
    return {name: np.where(count > 0, values, np.nan) for name, values in zip(_SCORES, figures, strict=True)}


def _interval(resampled: Float64[np.ndarray, "resample row"]) -> np.ndarray:
    """Return quantiles of the values of each row; NaN for a row without values."""
    known = ~np.isnan(resampled).all(0)
    ends = np.full((2, resampled.shape[1]), np.nan)
    ends[:, known] = np.nanquantile(resampled[:, known], _INTERVAL, axis=0)
    return ends


def _share(of_groups: Float64[np.ndarray, "contender horizon group"]) -> np.ndarray:
    """Zero where there is nothing to share; NaN where not even the sum is above zero."""
    whole = of_groups.sum(-1, keepdims=True)
    return np.where(of_groups == 0, 0.0, of_groups / np.where(whole > 0, whole, np.nan))


_MOST_WINDOWS = 4000


def errors_by_group(forecaster: Forecaster, look_up: Forecaster, window_set: WindowSet) -> pd.DataFrame:
    """Errors on held-out windows of the strictest regime, by group, at each horizon (see `GroupErrors.table`)."""
    regime, windows = strictest_regime_windows(forecaster, window_set)
    windows = windows[:: -(-len(windows) // _MOST_WINDOWS)]
    contenders = {forecaster.config.architecture: forecaster, look_up.config.architecture: look_up}
    horizons = forecaster.horizons
    own_rows = {
        name: [contender.horizons.index(horizon) for horizon in horizons] for name, contender in contenders.items()
    }
    sums = GroupErrors(window_set, groupings(window_set, forecaster.couplings()), horizons, list(contenders))
    used = {name: forecaster_for_regime(contender, window_set, regime) for name, contender in contenders.items()}
    for positions in batches_by_recording(windows, window_set):
        number = int(window_set.index["recording"][positions[0]])
        batch = window_set.batch(positions)
        origin_rows = window_set.index["start_row"][positions].astype(np.int64) + window_set.context - 1
        forecasts_mv = {name: predict_mv(use(number), batch)[:, own_rows[name]] for name, use in used.items()}
        truth_mv = batch.target_mv()[:, [window_set.horizons.index(horizon) for horizon in horizons]]
        history_mv = batch.history_mv()
        present_mv = history_mv[:, -1]
        sums.add(
            TargetTimes(history_mv, number, origin_rows),
            forecasts_mv,
            truth_mv,
            bands_mv={
                name: band_mv(contender, present_mv, forecasts_mv[name])
                for name, contender in contenders.items()
                if contender.distribution and contender.horizons == horizons
            },
            least_mv2=irreducible_error_mv2(window_set.manifest.preparation, window_set.rate_hz, horizons, present_mv),
        )
    return sums.table()
