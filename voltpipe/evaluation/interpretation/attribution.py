"""Attribution: which samples a forecast goes back to, of the channel itself and of the others.

A forecast is explained against that of another moment of the same recording. Integrated gradients (Sundararajan et al.
2017, https://arxiv.org/abs/1703.01365) follow the way from one moment to the other. What they give to all samples must
add up to the difference of the forecasts, and does so only where a gradient crosses every step of the forecaster. Where
it does not, as with a look-up of voltages or where spikes are recognised, samples are exchanged for those of the other
moment, some at a time (occlusion).
"""

from collections.abc import Callable
from enum import StrEnum
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from jaxtyping import Float
from torch import Tensor

from voltpipe.evaluation.batching import windows_per_batch
from voltpipe.evaluation.held_out_windows import evenly_spaced
from voltpipe.evaluation.interpretation.ablations import kept_samples
from voltpipe.evaluation.interpretation.input_replacement import ReplacementWindows
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import to_mv

OWN, OTHERS = "own", "others"
TRAINED, RANDOM = "trained", "random"
MOST_MISSED = 0.1
"""Largest fraction of the forecast differences that integrated gradients may miss."""

_STEPS = 16
_CHECKED_WINDOWS = 4
_HORIZONS_EXPLAINED = 3
_COLUMNS = ("method", "weights", "horizon", "from_ms", "to_ms", "source", "attribution_mv", "missed", "n_windows")


class Method(StrEnum):
    """Method of attribution."""

    INTEGRATED_GRADIENTS = "integrated gradients"
    OCCLUSION = "occlusion"


class Explained:
    """One channel's forecast in each window, and the other moment it is compared with.

    Args:
        used: gives the forecaster for a recording, by its number.
        horizons: of its forecasts.
        moments: the windows; in each another channel is forecast, as far as there are channels.
    """

    def __init__(
        self, used: Callable[[int], Forecaster], horizons: tuple[int, ...], moments: ReplacementWindows
    ) -> None:
        n_windows, n_channels = len(moments), moments.window_set.n_channels
        self.used, self.horizons, self.moments = used, horizons, moments
        self.receivers = torch.from_numpy(
            evenly_spaced(np.arange(n_channels), n_windows)[np.arange(n_windows) % n_channels]
        )
        self.elsewhere_z = moments.elsewhere_z()[0]
        self.sources = (OWN, OTHERS)[:n_channels]
        self.edges = [0, *kept_samples(moments.window_set), moments.window_set.context]
        """Bounds of the parts of a history, in samples back from its end."""

    def occluded_mv(self) -> Float[Tensor, "window horizon part source"]:
        """Measure the change of forecasts if a part of the history, of the channel or of all others, is replaced."""
        history_z, elsewhere_z = (self._in_front(each) for each in (self.moments.batch.history_z, self.elsewhere_z))
        numbers = torch.repeat_interleave(torch.arange(len(self.edges) - 1), torch.tensor(self.edges).diff()).flip(0)
        mask = 2 * numbers[:, None] + (torch.arange(history_z.shape[-1]) > 0)
        with torch.no_grad():
            changes_mv = FeatureAblation(self._forecasts_mv).attribute(history_z, elsewhere_z, feature_mask=mask[None])
        # All samples of a part bear its change: one is taken where it begins, of the first and of the second channel.
        of_parts: Tensor = changes_mv.flip(1)[:, self.edges[:-1], :2]
        return of_parts.reshape(len(self.moments), len(self.horizons), *of_parts.shape[1:])

    def _forecasts_mv(
        self, in_front_z: Float[Tensor, "window context channel"]
    ) -> Float[Tensor, " window_and_horizon"]:
        forecast_mv = self.moments.forecast_mv(self.used, self._in_front(in_front_z), np.arange(len(self.moments)))
        return self._in_front(forecast_mv)[..., 0].flatten()

    def _in_front(self, values: Float[Tensor, "window any channel"]) -> Float[Tensor, "window any channel"]:
        """The channel that is forecast changes places with the first; and back again, the second time."""
        windows, changed = torch.arange(len(values)), values.clone()
        changed[windows, :, 0] = values[windows, :, self.receivers]
        changed[windows, :, self.receivers] = values[windows, :, 0]
        return changed

    def integrated_mv(self, column: int) -> tuple[Float[Tensor, "window part source"], float]:
        """Integrated gradients at one horizon, and which share of the differences of forecasts they miss."""
        attributed = torch.empty_like(self.elsewhere_z)
        missed, differences = 0.0, 0.0
        for number in np.unique(self.moments.recordings):
            rows = torch.from_numpy(np.flatnonzero(self.moments.recordings == number))
            forecast = _OneForecast(self.used(int(number)), column)
            calibration = self.moments.batch.mean_mv[rows], self.moments.batch.sd_mv[rows], self.receivers[rows]
            history_z, elsewhere_z = self.moments.batch.history_z[rows], self.elsewhere_z[rows]
            attributed[rows] = IntegratedGradients(forecast).attribute(
                history_z,
                elsewhere_z,
                additional_forward_args=calibration,
                n_steps=_STEPS,
                internal_batch_size=max(len(rows), windows_per_batch(self.moments.window_set)),
            )
            with torch.no_grad():
                difference = forecast(history_z, *calibration) - forecast(elsewhere_z, *calibration)
            missed += float((attributed[rows].sum((1, 2)) - difference).abs().sum())
            differences += float(difference.abs().sum())
        by_source = self._in_front(attributed)
        by_source = torch.stack([by_source[..., 0], by_source[..., 1:].sum(-1)], dim=-1).flip(1)[
            ..., : len(self.sources)
        ]
        parts = [by_source[:, start:stop].sum(1) for start, stop in pairwise(self.edges)]
        return torch.stack(parts, dim=1), missed / differences if differences else 0.0


class _OneForecast:
    """Return the forecast of one channel in each window in mV, with its gradient."""

    def __init__(self, forecaster: Forecaster, column: int) -> None:
        forecaster.module.eval()
        self.forecaster, self.column = forecaster, column

    def __call__(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
        receivers: Tensor,
    ) -> Float[Tensor, " batch"]:
        where = torch.arange(len(history_z)), receivers
        forecast_z = self.forecaster.forecast_z(history_z, mean_mv, sd_mv)[:, self.column]
        # Adding nothing, so that there is a gradient, of zero, even where none flows from the history.
        return to_mv(forecast_z[where], mean_mv[where], sd_mv[where]) + 0 * history_z.sum((1, 2))


def attribution_table(
    used: Callable[[int], Forecaster],
    untrained: Callable[[int], Forecaster],
    horizons: tuple[int, ...],
    moments: ReplacementWindows,
) -> pd.DataFrame:
    """Mean absolute attribution in mV, by horizon, part of the history (`from_ms` to `to_ms` back) and source.

    Integrated gradients where they are complete, otherwise they are there for the shortest horizon alone, with what
    share they miss, and occlusion for all horizons. Rows of random `weights` say by the same method what is so before
    anything is learned; of integrated gradients at the shortest horizon alone.

    Args:
        used: gives the forecaster for a recording, by its number.
        untrained: likewise the one with random weights.
        horizons: of their forecasts.
        moments: the windows.
    """
    few = moments.some(_CHECKED_WINDOWS)
    checked = Explained(used, horizons, few)
    attribution_mv, missed = checked.integrated_mv(0)
    rows = []
    if missed > MOST_MISSED:
        rows += _rows(checked, Method.INTEGRATED_GRADIENTS, TRAINED, horizons[0], attribution_mv, missed)
        for weights, each in ((TRAINED, used), (RANDOM, untrained)):
            explained = Explained(each, horizons, moments)
            occluded_mv = explained.occluded_mv()
            for column, horizon in enumerate(horizons):
                rows += _rows(explained, Method.OCCLUSION, weights, horizon, occluded_mv[:, column], np.nan)
    else:
        explained = Explained(used, horizons, moments)
        for column in evenly_spaced(np.arange(len(horizons)), _HORIZONS_EXPLAINED):
            found = explained.integrated_mv(int(column))
            rows += _rows(explained, Method.INTEGRATED_GRADIENTS, TRAINED, horizons[column], *found)
        explained = Explained(untrained, horizons, few)
        rows += _rows(explained, Method.INTEGRATED_GRADIENTS, RANDOM, horizons[0], *explained.integrated_mv(0))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _rows(
    explained: Explained,
    method: Method,
    weights: str,
    horizon: int,
    attribution_mv: Float[Tensor, "window part source"],
    missed: float,
) -> list[tuple[object, ...]]:
    sample_ms = 1000 / explained.moments.window_set.rate_hz
    n_windows = len(explained.moments)
    return [
        (method.value, weights, horizon, start * sample_ms, stop * sample_ms, source, float(value), missed, n_windows)
        for (start, stop), values in zip(pairwise(explained.edges), attribution_mv.abs().mean(0), strict=True)
        for source, value in zip(explained.sources, values, strict=True)
    ]
