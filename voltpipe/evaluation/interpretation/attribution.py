"""Attribution of a forecast to samples, of the channel itself and of the other channels.

A forecast is compared with that of another time in the same recording. Integrated gradients (Sundararajan et al. 2017,
https://arxiv.org/abs/1703.01365) follow the path from one history to the other. Their sum over all samples must equal
the difference of the forecasts. It does so only if every step of the forecaster has a gradient. Lookup tables and spike
detection have none. In that case, groups of samples are replaced by those of the other time (occlusion).
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
"""Share of the differences of forecasts that integrated gradients may miss before occlusion is used as well."""

_STEPS = 16
_CHECKED_WINDOWS = 4
_HORIZONS_EXPLAINED = 3
_COLUMNS = ("method", "weights", "horizon", "from_ms", "to_ms", "source", "attribution_mv", "missed", "n_windows")


class Method(StrEnum):
    """Method of attribution."""

    INTEGRATED_GRADIENTS = "integrated gradients"
    OCCLUSION = "occlusion"


class ExplainedForecasts:
    """Forecast of one channel in each window, and the other time that it is compared with.

    Args:
        used: function from a recording's number to the forecaster for it.
        horizons: horizons of the forecaster, in samples.
        windows: the windows. The forecast channel differs between windows, as far as there are channels.
    """

    def __init__(
        self, used: Callable[[int], Forecaster], horizons: tuple[int, ...], windows: ReplacementWindows
    ) -> None:
        n_windows, n_channels = len(windows), windows.window_set.n_channels
        self.used, self.horizons, self.windows = used, horizons, windows
        self.receivers = torch.from_numpy(
            evenly_spaced(np.arange(n_channels), n_windows)[np.arange(n_windows) % n_channels]
        )
        self.elsewhere_z = windows.elsewhere_z()[0]
        self.sources = (OWN, OTHERS)[:n_channels]
        self.edges = [0, *kept_samples(windows.window_set), windows.window_set.context]
        """Borders between parts of a history, in samples before its end."""

    def occluded_mv(self) -> Float[Tensor, "window horizon part source"]:
        """Return the change of the forecast if a part of the history of its own or the other channels is replaced."""
        history_z, elsewhere_z = (self._in_front(each) for each in (self.windows.batch.history_z, self.elsewhere_z))
        numbers = torch.repeat_interleave(torch.arange(len(self.edges) - 1), torch.tensor(self.edges).diff()).flip(0)
        mask = 2 * numbers[:, None] + (torch.arange(history_z.shape[-1]) > 0)
        with torch.no_grad():
            changes_mv = FeatureAblation(self._forecasts_mv).attribute(history_z, elsewhere_z, feature_mask=mask[None])
        # All samples of a part have its change. Take the first sample, in the first and in the second channel.
        of_parts: Tensor = changes_mv.flip(1)[:, self.edges[:-1], :2]
        return of_parts.reshape(len(self.windows), len(self.horizons), *of_parts.shape[1:])

    def _forecasts_mv(
        self, in_front_z: Float[Tensor, "window context channel"]
    ) -> Float[Tensor, " window_and_horizon"]:
        forecast_mv = self.windows.forecast_mv(self.used, self._in_front(in_front_z), np.arange(len(self.windows)))
        return self._in_front(forecast_mv)[..., 0].flatten()

    def _in_front(self, values: Float[Tensor, "window any channel"]) -> Float[Tensor, "window any channel"]:
        """Swap the forecast channel with the first channel. A second call swaps it back."""
        rows, changed = torch.arange(len(values)), values.clone()
        changed[rows, :, 0] = values[rows, :, self.receivers]
        changed[rows, :, self.receivers] = values[rows, :, 0]
        return changed

    def integrated_mv(self, column: int) -> tuple[Float[Tensor, "window part source"], float]:
        """Return integrated gradients at one horizon, and the share of the differences of forecasts that they miss."""
        attributed = torch.empty_like(self.elsewhere_z)
        missed, differences = 0.0, 0.0
        for number in np.unique(self.windows.recordings):
            rows = torch.from_numpy(np.flatnonzero(self.windows.recordings == number))
            forecast = _OneForecast(self.used(int(number)), column)
            calibration = self.windows.batch.mean_mv[rows], self.windows.batch.sd_mv[rows], self.receivers[rows]
            history_z, elsewhere_z = self.windows.batch.history_z[rows], self.elsewhere_z[rows]
            attributed[rows] = IntegratedGradients(forecast).attribute(
                history_z,
                elsewhere_z,
                additional_forward_args=calibration,
                n_steps=_STEPS,
                internal_batch_size=max(len(rows), windows_per_batch(self.windows.window_set)),
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
    """Differentiable forecast of one channel in each window, in mV."""

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
        # Adding zero gives a gradient of zero even if the forecast does not depend on the history.
        return to_mv(forecast_z[where], mean_mv[where], sd_mv[where]) + 0 * history_z.sum((1, 2))


def attribution_table(
    used: Callable[[int], Forecaster],
    untrained: Callable[[int], Forecaster],
    horizons: tuple[int, ...],
    windows: ReplacementWindows,
) -> pd.DataFrame:
    """Return the mean absolute attribution in mV, by horizon, part of the history and source.

    A part is from `from_ms` to `to_ms` before the end of the history. If integrated gradients are complete, they are
    given for up to three horizons. Otherwise they are given only for the shortest horizon, with the share that they
    miss (`missed`), and occlusion is given for all horizons. Rows with random `weights` show the same before training,
    by the same method; integrated gradients only at the shortest horizon.

    Args:
        used: function from a recording's number to the forecaster for it.
        untrained: function from a recording's number to the forecaster with random weights.
        horizons: horizons of the forecasters, in samples.
        windows: the windows.
    """
    few = windows.some(_CHECKED_WINDOWS)
    checked = ExplainedForecasts(used, horizons, few)
    attribution_mv, missed = checked.integrated_mv(0)
    rows = []
    if missed > MOST_MISSED:
        rows += _rows(checked, Method.INTEGRATED_GRADIENTS, TRAINED, horizons[0], attribution_mv, missed)
        for weights, of_recording in ((TRAINED, used), (RANDOM, untrained)):
            explained = ExplainedForecasts(of_recording, horizons, windows)
            occluded_mv = explained.occluded_mv()
            for column, horizon in enumerate(horizons):
                rows += _rows(explained, Method.OCCLUSION, weights, horizon, occluded_mv[:, column], np.nan)
    else:
        explained = ExplainedForecasts(used, horizons, windows)
        for column in evenly_spaced(np.arange(len(horizons)), _HORIZONS_EXPLAINED):
            found = explained.integrated_mv(int(column))
            rows += _rows(explained, Method.INTEGRATED_GRADIENTS, TRAINED, horizons[column], *found)
        explained = ExplainedForecasts(untrained, horizons, few)
        rows += _rows(explained, Method.INTEGRATED_GRADIENTS, RANDOM, horizons[0], *explained.integrated_mv(0))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _rows(
    explained: ExplainedForecasts,
    method: Method,
    weights: str,
    horizon: int,
    attribution_mv: Float[Tensor, "window part source"],
    missed: float,
) -> list[tuple[object, ...]]:
    sample_ms = 1000 / explained.windows.window_set.rate_hz
    n_windows = len(explained.windows)
    return [
        (method.value, weights, horizon, start * sample_ms, stop * sample_ms, source, float(value), missed, n_windows)
        for (start, stop), values in zip(pairwise(explained.edges), attribution_mv.abs().mean(0), strict=True)
        for source, value in zip(explained.sources, values, strict=True)
    ]
