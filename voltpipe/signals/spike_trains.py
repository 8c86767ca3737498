"""What spike trains alone say of each pair: the plain measures that the coupling has to beat.

Both look only at when channels spike, never at the voltage in between, and only at what follows the sender's spike.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from voltpipe.signals.spike_detection import ResetVoltage, is_at_reset, spike_onsets


@dataclass(frozen=True)
class PairwiseSpikeStatistics:
    """Directed measures of each pair; zero where nothing tells."""

    correlogram_z: Float64[Tensor, "sender receiver"]
    """The cross-correlogram's largest deviation, up or down, from the count expected of independent trains at constant
    rates, in that count's Poisson standard deviations."""
    tiling: Float64[Tensor, "sender receiver"]
    """The spike time tiling coefficient, from -1 to 1, of the lags after the sender's spike."""


def pairwise_spike_statistics(
    voltages_mv: Iterable[Float[Tensor, "time channel"]], reset: ResetVoltage, *, n_lags: int
) -> PairwiseSpikeStatistics:
    """Measure pairs by the spikes that are seen in voltages.

    Args:
        voltages_mv: stretches of consecutive samples, whose first `n_lags` + 1 and last `n_lags` rows are margin.
        reset: where the voltage stands after a spike.
        n_lags: how many samples after the sender's spike the receiver's count.
    """
    trains = (spike_onsets(is_at_reset(v, reset.voltage_mv, reset.tolerance_mv))[1:] for v in voltages_mv)
    return pairwise_onset_statistics(trains, n_lags=n_lags)


def pairwise_onset_statistics(
    trains: Iterable[Bool[Tensor, "time channel"]], *, n_lags: int
) -> PairwiseSpikeStatistics:
    """Measure pairs by their spikes, given by sample; the first and last `n_lags` rows of each stretch are margin.

    The coefficient is that of Cutts & Eglen (2014, J. Neurosci. 34:14288), (term_a + term_b) / 2 with
    term_a = (P_a - T_b) / (1 - P_a T_b), where a spike of the sender tiles the lags after it only, and a spike of the
    receiver those before it: P is the share of spikes on the other's tiles, T the share of time under own tiles.
    """
    counts = [_Counts.of(train, n_lags) for train in trains]
    n_rows = sum(count.n_rows for count in counts)
    n_spikes = torch.stack([count.n_spikes for count in counts]).sum(0)
    at_lag = torch.stack([count.at_lag for count in counts]).sum(0)
    expected = torch.outer(n_spikes, n_spikes) / n_rows
    z = ((at_lag - expected) / expected.sqrt()).nan_to_num(0.0)
    followed = torch.stack([count.followed for count in counts]).sum(0) / n_spikes[:, None]
    preceded = torch.stack([count.preceded for count in counts]).sum(0) / n_spikes
    time_before = torch.stack([count.rows_before for count in counts]).sum(0) / n_rows
    time_after = torch.stack([count.rows_after for count in counts]).sum(0) / n_rows
    tiling = (_term(followed, time_before) + _term(preceded, time_after[:, None])) / 2
    apart = 1 - torch.eye(len(n_spikes), dtype=torch.float64)
    return PairwiseSpikeStatistics(z.abs().amax(0) * apart, tiling.nan_to_num(0.0) * apart)


@dataclass(frozen=True)
class _Counts:
    n_rows: int
    n_spikes: Float64[Tensor, " channel"]
    at_lag: Float64[Tensor, "lag sender receiver"]
    followed: Float64[Tensor, "sender receiver"]
    """The sender's spikes that one of the receiver's follows."""
    preceded: Float64[Tensor, "sender receiver"]
    """The receiver's spikes that one of the sender's precedes."""
    rows_before: Float64[Tensor, " channel"]
    rows_after: Float64[Tensor, " channel"]

    @classmethod
    def of(cls, train: Bool[Tensor, "time channel"], n_lags: int) -> "_Counts":
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


def _term(share: Tensor, time: Tensor) -> Tensor:
    return (share - time) / (1 - share * time)
