"""Influence of one channel on forecasts: its history is replaced by that of another time."""

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
INFLUENCE, UNTRAINED = "influence in this forecaster", "influence with random weights"
_MOST_SENDERS, _LEAST_WINDOWS, _MOST_HISTORIES = 100, 3, 300


class ShuffledChannels:
    """Forecasts of windows in which the history of one channel is replaced, for each of some channels in turn.

    Args:
        used: function from a recording's number to the forecaster for it.
        horizons: horizons of the forecaster, in samples.
        windows: windows of one organoid. Each channel is replaced in a few of them, or in all if it is the only one.
    """

    def __init__(
        self, used: Callable[[int], Forecaster], horizons: tuple[int, ...], windows: ReplacementWindows
    ) -> None:
        self.windows, self.horizons = windows, horizons
        self.senders = evenly_spaced(
            np.arange(windows.window_set.n_channels), affordable(_MOST_SENDERS, windows.window_set)
        )
        self.windows_each = min(max(_LEAST_WINDOWS, _MOST_HISTORIES // len(self.senders)), len(windows))
        self.sender = np.repeat(self.senders, self.windows_each)
        self.rows = np.arange(len(self.sender)) % len(windows)
        unchanged_mv = windows.forecast_mv(used, windows.batch.history_z, np.arange(len(windows)))
        self.forecast_mv = unchanged_mv[self.rows]
        self.without_mv = torch.stack([self._without_mv(used, each_z) for each_z in windows.elsewhere_z()])

    def _without_mv(
        self, used: Callable[[int], Forecaster], replacement_z: Float[Tensor, "window context channel"]
    ) -> Float[Tensor, "history horizon channel"]:
        history_z = self.windows.batch.history_z[self.rows]
        where = torch.arange(len(self.rows)), slice(None), torch.from_numpy(self.sender)
        history_z[where] = replacement_z[self.rows][where]
        return self.windows.forecast_mv(used, history_z, self.rows)

    def influence_mv(self) -> Float[Tensor, "sender receiver"]:
        """Return the change of the forecast of each channel: root mean square over windows and horizons."""
        squared_mv2 = (self.without_mv - self.forecast_mv).square().mean((0, 2))
        return squared_mv2.reshape(len(self.senders), self.windows_each, -1).mean(1).sqrt()

    def own_changes_mv(self) -> Float[Tensor, "draw history horizon"]:
        """Return the signed change of the forecast of the replaced channel, in mV."""
        itself = torch.arange(len(self.rows)), slice(None), torch.from_numpy(self.sender)
        return torch.stack([(each_mv - self.forecast_mv)[itself] for each_mv in self.without_mv])

    def pooled_losses(self) -> pd.DataFrame:
        """Return the loss of R2 of the replaced channel and of all others, as rows of the ablation table."""
        unit, units = units_of(self.windows)
        itself = torch.nn.functional.one_hot(torch.from_numpy(self.sender), self.windows.window_set.n_channels).float()
        parts = [
            pd.DataFrame(self._losses(np.arange(len(self.rows)), counted, units[self.rows])).assign(ablation=name)
            for name, counted in ((ON_ITSELF, itself), (ON_OTHERS, 1 - itself))[: self.windows.window_set.n_channels]
        ]
        return pd.concat(parts).assign(kept_ms=np.nan, n_windows=len(self.windows), unit=unit)

    def losses_by_channel(self) -> pd.DataFrame:
        """Return the loss of R2 over all channels without each channel, by horizon, with an interval over windows."""
        everything = torch.ones(self.windows_each, self.windows.window_set.n_channels)
        names = self.windows.window_set.channel_names
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
        return r2_drops(self.windows, self.horizons, self.rows[histories], forecast_mv, without_mv, counted, units)


def influence_table(trained: ShuffledChannels, untrained: ShuffledChannels) -> pd.DataFrame:
    """Return the change of the receiver's forecast by the sender's history, one row for each pair of channels.

    `influence_mv` is that of the trained forecaster, and `untrained_mv` that of the same with its weights in random
    order. `is_connected_truth` is missing if the truth is unknown.
    """
    windows = trained.windows
    names = np.array(windows.window_set.channel_names)
    sender, receiver = np.nonzero(trained.senders[:, None] != np.arange(len(names)))
    organoid = windows.window_set.recordings[int(windows.recordings[0])].organoid
    truth_mv = true_networks_mv(windows.window_set).get(organoid)
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


def influence_auroc(influence: pd.DataFrame) -> dict[str, float] | None:
    """Return the AUROC of connected pairs by influence, with and without training.

    It is the probability that a connected pair has more influence than an unconnected one.

    Returns None if the truth is unknown, or if all or no pairs are connected.
    """
    truth = influence["is_connected_truth"] if len(influence) else pd.Series(dtype="boolean")
    if truth.empty or truth.isna().any() or truth.nunique() < 2:
        return None
    is_connected = torch.from_numpy(truth.to_numpy(bool, copy=True))
    return {
        name: auroc(torch.from_numpy(influence[column].to_numpy(copy=True)), is_connected)
        for name, column in ((INFLUENCE, "influence_mv"), (UNTRAINED, "untrained_mv"))
    }
