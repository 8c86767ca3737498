"""Channel influence: the change of forecasts if one channel is replaced by its voltage at another time."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.evaluation.connectivity_scores import auroc
from voltpipe.evaluation.connectivity_table import true_networks_mv
from voltpipe.evaluation.held_out_windows import evenly_spaced
from voltpipe.evaluation.interpretation.input_replacement import (
    R2Drop,
    ReplacementWindows,
    affordable,
    r2_drops,
    units_of,
)
from voltpipe.forecasting.forecaster import Forecaster

ON_ITSELF, ON_OTHERS = "one channel, on itself", "one channel, on the others"

_MOST_SENDERS, _LEAST_WINDOWS, _MOST_HISTORIES = 100, 3, 300


class ShuffledChannels:
    """Forecasts of windows in which one channel, its history, is another moment's; for each of some channels.

    Args:
        used: gives the forecaster for a recording, by its number.
        horizons: of its forecasts.
        moments: the windows, of one organoid; each channel is replaced in a few of them, or in all if it is alone.
    """

    def __init__(
        self, used: Callable[[int], Forecaster], horizons: tuple[int, ...], moments: ReplacementWindows
    ) -> None:
        self.moments, self.horizons = moments, horizons
        self.senders = evenly_spaced(
            np.arange(moments.window_set.n_channels), affordable(_MOST_SENDERS, moments.window_set)
        )
        self.windows_each = min(max(_LEAST_WINDOWS, _MOST_HISTORIES // len(self.senders)), len(moments))
        self.sender = np.repeat(self.senders, self.windows_each)
        self.rows = np.arange(len(self.sender)) % len(moments)
        as_it_is_mv = moments.forecast_mv(used, moments.batch.history_z, np.arange(len(moments)))
        self.forecast_mv = as_it_is_mv[self.rows]
        self.without_mv = torch.stack([self._without_mv(used, each_z) for each_z in moments.elsewhere_z()])

    def _without_mv(
        self, used: Callable[[int], Forecaster], elsewhere_z: Float[Tensor, "window context channel"]
    ) -> Float[Tensor, "history horizon channel"]:
        history_z = self.moments.batch.history_z[self.rows]
        where = torch.arange(len(self.rows)), slice(None), torch.from_numpy(self.sender)
        history_z[where] = elsewhere_z[self.rows][where]
        return self.moments.forecast_mv(used, history_z, self.rows)

    def influence_mv(self) -> Float[Tensor, "sender receiver"]:
        """Return the change of the forecast of each channel: root mean square over windows and horizons."""
        squared_mv2 = (self.without_mv - self.forecast_mv).square().mean((0, 2))
        return squared_mv2.reshape(len(self.senders), self.windows_each, -1).mean(1).sqrt()

    def own_changes_mv(self) -> Float[Tensor, "draw history horizon"]:
        """Return size and sign of the change of the channel's own forecast."""
        itself = torch.arange(len(self.rows)), slice(None), torch.from_numpy(self.sender)
        return torch.stack([(each_mv - self.forecast_mv)[itself] for each_mv in self.without_mv])

    def pooled_losses(self) -> pd.DataFrame:
        """Return the mean cost for the channel itself and for all others, as rows of the ablations."""
        unit, units = units_of(self.moments)
        itself = torch.nn.functional.one_hot(torch.from_numpy(self.sender), self.moments.window_set.n_channels).float()
        parts = [
            pd.DataFrame(self._losses(np.arange(len(self.rows)), counted, units[self.rows])).assign(ablation=name)
            for name, counted in ((ON_ITSELF, itself), (ON_OTHERS, 1 - itself))[: self.moments.window_set.n_channels]
        ]
        return pd.concat(parts).assign(kept_ms=np.nan, n_windows=len(self.moments), unit=unit)

    def losses_by_channel(self) -> pd.DataFrame:
        """R2 over all channels that is lost without each, by horizon, with an interval over windows."""
        everything = torch.ones(self.windows_each, self.moments.window_set.n_channels)
        names = self.moments.window_set.channel_names
        parts = []
        for sender in self.senders:
            histories = np.flatnonzero(self.sender == sender)
            found = self._losses(histories, everything, np.arange(len(histories)))
            parts.append(pd.DataFrame(found).assign(channel=names[sender], n_windows=len(histories)))
        columns = ["channel", "horizon", "r2_moved", "r2_lost", "low", "high", "n_windows", "n_targets"]
        return pd.concat(parts, ignore_index=True)[columns]

    def _losses(
        self,
        histories: Int64[np.ndarray, " history"],
        counted: Float[Tensor, "history channel"],
        units: Int64[np.ndarray, " history"],
    ) -> Iterator[R2Drop]:
        forecast_mv, without_mv = self.forecast_mv[histories], self.without_mv[:, histories]
        return r2_drops(self.moments, self.horizons, self.rows[histories], forecast_mv, without_mv, counted, units)


def influence_table(trained: ShuffledChannels, untrained: ShuffledChannels) -> pd.DataFrame:
    """A row for each pair of different channels: how much the sender's history changes the receiver's forecast.

    `influence_mv` is of the trained forecaster, `untrained_mv` of the same with its weights in random order.
    `is_connected_truth` is missing where the truth is not known.
    """
    moments = trained.moments
    names = np.array(moments.window_set.channel_names)
    sender, receiver = np.nonzero(trained.senders[:, None] != np.arange(len(names)))
    organoid = moments.window_set.recordings[int(moments.recordings[0])].organoid
    truth_mv = true_networks_mv(moments.window_set).get(organoid)
    table = pd.DataFrame(
        {
            "organoid": organoid,
            "sender": names[trained.senders[sender]],
            "receiver": names[receiver],
            "influence_mv": trained.influence_mv()[sender, receiver].numpy(),
            "untrained_mv": untrained.influence_mv()[sender, receiver].numpy(),
            "n_windows": trained.windows_each,
            "is_connected_truth": pd.NA if truth_mv is None else truth_mv[trained.senders[sender], receiver] != 0,
        }
    )
    return table.astype({"organoid": "str", "sender": "str", "receiver": "str", "is_connected_truth": "boolean"})


INFLUENCE, UNTRAINED = "influence in this forecaster", "the same of random weights"


def influence_auroc(influence: pd.DataFrame) -> dict[str, float] | None:
    """The chance that a connected pair has more influence than an unconnected one, also without training."""
    truth = influence["is_connected_truth"] if len(influence) else pd.Series(dtype="boolean")
    if truth.empty or truth.isna().any() or truth.nunique() < 2:
        return None
    is_connected = torch.from_numpy(truth.to_numpy(bool, copy=True))
    return {
        name: auroc(torch.from_numpy(influence[column].to_numpy(copy=True)), is_connected)
        for name, column in ((INFLUENCE, "influence_mv"), (UNTRAINED, "untrained_mv"))
    }
