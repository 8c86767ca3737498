"""Evidence for a coupling: sums over spikes and the innovations behind them, which add up over time and recordings.

All pairs together are two matrix products a lag.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from voltpipe.signals.spike_detection import ResetVoltage, is_at_reset, spike_onsets

N_BINS = 200


@dataclass(frozen=True)
class MeanStepTable:
    """The mean step from one sample to the next, in bins of the voltage before it.

    Only free steps count: those in which a channel neither spikes nor stands at the reset.
    """

    reset: ResetVoltage
    edges_mv: Float[Tensor, " edge"]
    """The borders between bins, ascending; equal ones enclose bins that stay empty."""
    mean_mv: Float[Tensor, " bin"]

    @classmethod
    def fit(
        cls,
        voltages_mv: Iterable[Float[Tensor, "time channel"]],
        *,
        ascending_mv: Float[Tensor, " value"],
        reset: ResetVoltage,
    ) -> "MeanStepTable":
        """Average the free steps of some voltages; `ascending_mv`, a sample of them, gives bins of equal shares."""
        positions = torch.linspace(0, len(ascending_mv) - 1, N_BINS + 1)[1:-1].long()
        edges_mv = ascending_mv[positions]
        sums_mv, counts = torch.zeros(2, N_BINS, dtype=torch.float64)
        for voltage_mv in voltages_mv:
            is_free = steps_away_from_reset(is_at_reset(voltage_mv, reset.voltage_mv, reset.tolerance_mv))
            bins = torch.bucketize(voltage_mv[:-1][is_free], edges_mv)
            sums_mv += torch.bincount(bins, weights=voltage_mv.diff(dim=0)[is_free].double(), minlength=N_BINS)
            counts += torch.bincount(bins, minlength=N_BINS)
        return cls(reset, edges_mv, (sums_mv / counts.clamp(min=1)).float())

    def innovations_mv(
        self, voltage_mv: Float[Tensor, "time channel"]
    ) -> tuple[Float[Tensor, "step channel"], Bool[Tensor, "step channel"]]:
        """What each free step adds to the mean step from its voltage, zero at the others; and which are free."""
        is_free = steps_away_from_reset(is_at_reset(voltage_mv, self.reset.voltage_mv, self.reset.tolerance_mv))
        return innovations_mv(voltage_mv, is_free, self.edges_mv, self.mean_mv), is_free


def steps_away_from_reset(at_reset: Bool[Tensor, "*batch time channel"]) -> Bool[Tensor, "*batch step channel"]:
    """Which steps neither begin nor end at the reset."""
    return ~(at_reset[..., 1:, :] | at_reset[..., :-1, :])


def innovations_mv(
    voltage_mv: Float[Tensor, "*batch time channel"],
    is_free: Bool[Tensor, "*batch step channel"],
    edges_mv: Float[Tensor, " edge"],
    mean_steps_mv: Float[Tensor, " bin"],
) -> Float[Tensor, "*batch step channel"]:
    """What each free step adds to the mean step from its voltage, and zero at the others."""
    expected_mv = mean_steps_mv[torch.bucketize(voltage_mv[..., :-1, :].contiguous(), edges_mv)]
    return (voltage_mv.diff(dim=-2) - expected_mv) * is_free


@dataclass(frozen=True)
class SpikeTriggeredSums:
    """What voltages show of the coupling between their channels. Evidence from disjoint stretches adds up."""

    sums_mv: Float64[Tensor, "lag sender receiver"]
    """Over the spikes of each sender, the receivers' innovations at each lag."""
    counts: Float64[Tensor, "lag sender receiver"]
    """How many of these innovations were of a free step."""
    totals_mv: Float64[Tensor, " receiver"]
    """Over all free steps, whether behind a spike or not."""
    squares_mv2: Float64[Tensor, " receiver"]
    n_steps: Float64[Tensor, " receiver"]

    @classmethod
    def none(cls, n_lags: int, n_channels: int) -> "SpikeTriggeredSums":
        """Nothing seen yet."""
        pairs, channels = torch.zeros(n_lags, n_channels, n_channels), torch.zeros(n_channels)
        return cls(pairs.double(), pairs.double(), channels.double(), channels.double(), channels.double())

    @classmethod
    def of(
        cls, voltage_mv: Float[Tensor, "time channel"], mean_steps: MeanStepTable, n_lags: int
    ) -> "SpikeTriggeredSums":
        """What a stretch shows: its spikes are those from the second row to the last that has `n_lags` behind it."""
        reset = mean_steps.reset
        at_reset = is_at_reset(voltage_mv, reset.voltage_mv, reset.tolerance_mv)
        spikes = spike_onsets(at_reset)[1:-n_lags].float().T
        innovations_mv, is_free = mean_steps.innovations_mv(voltage_mv[1:])
        n_rows = spikes.shape[1]
        behind = [slice(lag, lag + n_rows) for lag in range(n_lags)]
        return cls(
            sums_mv=torch.stack([spikes @ innovations_mv[rows] for rows in behind]).double(),
            counts=torch.stack([spikes @ is_free[rows].float() for rows in behind]).double(),
            totals_mv=innovations_mv.sum(0).double(),
            squares_mv2=innovations_mv.square().sum(0).double(),
            n_steps=is_free.sum(0).double(),
        )

    def __add__(self, other: "SpikeTriggeredSums") -> "SpikeTriggeredSums":
        return SpikeTriggeredSums(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __sub__(self, other: "SpikeTriggeredSums") -> "SpikeTriggeredSums":
        return SpikeTriggeredSums(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))

    def effects_mv(self) -> Float64[Tensor, "lag sender receiver"]:
        """The mean innovation behind a spike, beyond the receiver's mean innovation."""
        return self.sums_mv / self.counts.clamp(min=1) - self.totals_mv / self.n_steps.clamp(min=1)

    def measured_mv(
        self, delay_profile: Float[Tensor, " lag"]
    ) -> tuple[Float[Tensor, "sender receiver"], Float[Tensor, "sender receiver"]]:
        """Each pair's shift w by least squares in effects = w x profile, and its standard error.

        Where a pair has no spike with a free step at each lag, they are zero and infinite; so is a channel's with
        itself.
        """
        profile = delay_profile.double()
        sd_mv = self._variances_mv2().sqrt()
        seen = self.seen()
        weighed = profile / profile.square().sum()
        shift_mv = torch.einsum("lsr,l->sr", self.effects_mv(), weighed)
        error_mv = torch.einsum("lsr,l->sr", 1 / self.counts.clamp(min=1), weighed.square()).sqrt() * sd_mv
        return torch.where(seen, shift_mv, 0.0).float(), torch.where(seen, error_mv, torch.inf).float()

    def variance_mv2(self) -> Float64[Tensor, ""]:
        """Of the innovations of all receivers, on average."""
        return (self._variances_mv2() * self.n_steps).sum() / self.n_steps.sum().clamp(min=1)

    def _variances_mv2(self) -> Float64[Tensor, " receiver"]:
        mean_mv = self.totals_mv / self.n_steps.clamp(min=1)
        return (self.squares_mv2 / self.n_steps.clamp(min=1) - mean_mv**2).clamp(min=0)

    def seen(self) -> Tensor:
        """The pairs (sender, receiver) that can be measured at each lag."""
        return (self.counts > 0).all(0).fill_diagonal_(False)
