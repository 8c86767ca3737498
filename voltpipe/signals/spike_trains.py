"""Pairwise statistics of spike trains, as baselines for the estimated connectivity.

Both statistics use only spike times, not the voltage between spikes, and only what follows a spike of the sender.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from voltpipe.signals.spike_detection import ResetVoltage, is_at_reset, spike_onsets


@dataclass(frozen=True)
class PairwiseSpikeStatistics:
    """Directed statistics of each pair; zero without spikes, and for a channel with itself."""

    correlogram_z: Float64[Tensor, "sender receiver"]
    """Largest absolute deviation of the cross-correlogram from the count expected for independent trains at
    constant rates, in Poisson standard deviations of that count."""
    tiling: Float64[Tensor, "sender receiver"]
    """Spike time tiling coefficient (-1 to 1) for the lags after the sender's spike."""


def pairwise_spike_statistics(
    voltages_mv: Iterable[Float[Tensor, "time channel"]], reset: ResetVoltage, *, n_lags: int
) -> PairwiseSpikeStatistics:
    """Compute pairwise statistics of the spikes in voltages.

    Args:
        voltages_mv: segments. The first `n_lags` + 1 and the last `n_lags` rows of each are margin.
        reset: the voltage after a spike.
        n_lags: number of samples after a spike of the sender in which spikes of the receiver count.
    """
    trains = (spike_onsets(is_at_reset(v, reset.voltage_mv, reset.tolerance_mv))[1:] for v in voltages_mv)
    return pairwise_onset_statistics(trains, n_lags=n_lags)


def pairwise_onset_statistics(
    trains: Iterable[Bool[Tensor, "time channel"]], *, n_lags: int
) -> PairwiseSpikeStatistics:
    """Compute pairwise statistics of spike trains.

    The tiling coefficient is (term_a + term_b) / 2 with term_a = (P_a - T_b) / (1 - P_a T_b), as in Cutts & Eglen
    (2014, J. Neurosci. 34:14288). P is the share of a train's spikes on tiles of the other train, and T the share of
    time under a train's own tiles. Unlike there, a spike of the sender tiles only the lags after it, and a spike of
    the receiver only the lags before it.

    Args:
        trains: whether each sample is a spike onset, by segment. The first and last `n_lags` rows of each are margin.
        n_lags: number of samples after a spike of the sender in which spikes of the receiver count.
    """
    counts = [_SpikeCounts.of(train, n_lags) for train in trains]
    n_rows = sum(count.n_rows for count in counts)
    n_spikes = torch.stack([count.n_spikes for count in counts]).sum(0)
    at_lag = torch.stack([count.at_lag for count in counts]).sum(0)
    expected = torch.outer(n_spikes, n_spikes) / n_rows
    z = ((at_lag - expected) / expected.sqrt()).nan_to_num(0.0)
    followed = torch.stack([count.followed for count in counts]).sum(0) / n_spikes[:, None]
    preceded = torch.stack([count.preceded for count in counts]).sum(0) / n_spikes
    time_before = torch.stack([count.rows_before for count in counts]).sum(0) / n_rows
    time_after = torch.stack([count.rows_after for count in counts]).sum(0) / n_rows
    tiling = (_tiling_term(followed, time_before) + _tiling_term(preceded, time_after[:, None])) / 2
    other_channels = 1 - torch.eye(len(n_spikes), dtype=torch.float64)
    return PairwiseSpikeStatistics(z.abs().amax(0) * other_channels, tiling.nan_to_num(0.0) * other_channels)


@dataclass(frozen=True)
class _SpikeCounts:
    n_rows: int
    n_spikes: Float64[Tensor, " channel"]
    at_lag: Float64[Tensor, "lag sender receiver"]
    followed: Float64[Tensor, "sender receiver"]
    """Spikes of the sender that are followed by a spike of the receiver."""
    preceded: Float64[Tensor, "sender receiver"]
    """Spikes of the receiver that are preceded by a spike of the sender."""
    rows_before: Float64[Tensor, " channel"]
    rows_after: Float64[Tensor, " channel"]

    @classmethod
    def of(cls, train: Bool[Tensor, "time channel"], n_lags: int) -> "_SpikeCounts":
        spikes = train.float()
        n_rows = len(spikes) - 2 * n_lags
        core = spikes[n_lags : n_lags + n_rows]
        later = torch.stack([spikes[n_lags + lag : n_lags + lag + n_rows] for lag in range(1, n_lags + 1)])
        earlier = torch.stack([spikes[n_lags - lag : n_lags - lag + n_rows] for lag in range(1, n_lags + 1)])
        before, after = later.amax(0), earlier.amax(0)
        return cls(
            n_rows,
            core.double().sum(0),
            (core.T @ later).double(),
            (core.T @ before).double(),
            (after.T @ core).double(),
            before.double().sum(0),
            after.double().sum(0),
        )


def _tiling_term(share: Tensor, time: Tensor) -> Tensor:
    return (share - time) / (1 - share * time)
