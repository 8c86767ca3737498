"""Spike-triggered sums: innovations of all channels summed over each channel's spikes, lag by lag.

Sums of disjoint segments and of several recordings add up. All pairs together take two matrix products for each lag.
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
    """Mean step from one sample to the next, in bins of the voltage before the step.

    Only free steps count: steps that neither begin nor end at the reset, and so contain no spike.
    """

    reset: ResetVoltage
    edges_mv: Float[Tensor, " edge"]
    """Ascending edges of the bins; bins between equal edges stay empty."""
    mean_mv: Float[Tensor, " bin"]

    @classmethod
    def fit(
        cls,
        voltages_mv: Iterable[Float[Tensor, "time channel"]],
        *,
        ascending_mv: Float[Tensor, " value"],
        reset: ResetVoltage,
    ) -> "MeanStepTable":
        """Average the free steps in each bin.

        Args:
            voltages_mv: segments in mV.
            ascending_mv: sorted samples in mV, whose quantiles are the edges of the bins.
            reset: voltage after a spike.
        """
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
        """Return the innovations in mV (see `innovations_mv`), and whether each step is free."""
        is_free = steps_away_from_reset(is_at_reset(voltage_mv, self.reset.voltage_mv, self.reset.tolerance_mv))
        return innovations_mv(voltage_mv, is_free, self.edges_mv, self.mean_mv), is_free


def steps_away_from_reset(at_reset: Bool[Tensor, "*batch time channel"]) -> Bool[Tensor, "*batch step channel"]:
    """Return whether each step neither begins nor ends at the reset."""
    return ~(at_reset[..., 1:, :] | at_reset[..., :-1, :])


def innovations_mv(
    voltage_mv: Float[Tensor, "*batch time channel"],
    is_free: Bool[Tensor, "*batch step channel"],
    edges_mv: Float[Tensor, " edge"],
    mean_steps_mv: Float[Tensor, " bin"],
) -> Float[Tensor, "*batch step channel"]:
    """Return the step beyond the mean step from the same voltage, in mV; zero where a step is not free."""
    expected_mv = mean_steps_mv[torch.bucketize(voltage_mv[..., :-1, :].contiguous(), edges_mv)]
    return (voltage_mv.diff(dim=-2) - expected_mv) * is_free


@dataclass(frozen=True)
class SpikeTriggeredSums:
    """Sums of innovations after spikes, for all pairs of channels. Sums of disjoint segments add up."""

    sums_mv: Float64[Tensor, "lag sender receiver"]
    """Sum of the receiver's innovations at each lag after the sender's spikes."""
    counts: Float64[Tensor, "lag sender receiver"]
    """Number of free steps in each sum."""
    totals_mv: Float64[Tensor, " receiver"]
    """Sum of the innovations of all free steps, after a spike or not."""
    squares_mv2: Float64[Tensor, " receiver"]
    """Sum of the squared innovations of all free steps."""
    n_steps: Float64[Tensor, " receiver"]
    """Number of all free steps."""

    @classmethod
    def zeros(cls, n_lags: int, n_channels: int) -> "SpikeTriggeredSums":
        """Return the sums of no data."""
        pairs, channels = torch.zeros(n_lags, n_channels, n_channels), torch.zeros(n_channels)
        return cls(pairs.double(), pairs.double(), channels.double(), channels.double(), channels.double())

    @classmethod
    def of(
        cls, voltage_mv: Float[Tensor, "time channel"], mean_steps: MeanStepTable, n_lags: int
    ) -> "SpikeTriggeredSums":
        """Compute the sums of a segment.

        Spikes count from the second row to the last one with `n_lags` rows after it.
        """
        reset = mean_steps.reset
        at_reset = is_at_reset(voltage_mv, reset.voltage_mv, reset.tolerance_mv)
        spikes = spike_onsets(at_reset)[1:-n_lags].float().T
        innovations_mv, is_free = mean_steps.innovations_mv(voltage_mv[1:])
        n_rows = spikes.shape[1]
        after = [slice(lag, lag + n_rows) for lag in range(n_lags)]
        return cls(
            sums_mv=torch.stack([spikes @ innovations_mv[rows] for rows in after]).double(),
            counts=torch.stack([spikes @ is_free[rows].float() for rows in after]).double(),
            totals_mv=innovations_mv.sum(0).double(),
            squares_mv2=innovations_mv.square().sum(0).double(),
            n_steps=is_free.sum(0).double(),
        )

    def __add__(self, other: "SpikeTriggeredSums") -> "SpikeTriggeredSums":
        return SpikeTriggeredSums(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __sub__(self, other: "SpikeTriggeredSums") -> "SpikeTriggeredSums":
        return SpikeTriggeredSums(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))

    def effects_mv(self) -> Float64[Tensor, "lag sender receiver"]:
        """Return the mean innovation after a spike minus the receiver's mean innovation, in mV."""
        return self.sums_mv / self.counts.clamp(min=1) - self.totals_mv / self.n_steps.clamp(min=1)

    def measured_mv(
        self, delay_profile: Float[Tensor, " lag"]
    ) -> tuple[Float[Tensor, "sender receiver"], Float[Tensor, "sender receiver"]]:
        """Fit the shift w of each pair by least squares in effects = w x profile.

        Returns:
            Shift and standard error in mV. They are zero and infinite for a channel with itself, and for pairs without
            a free step after a spike at every lag.
        """
        profile = delay_profile.double()
        sd_mv = self._variances_mv2().sqrt()
        measurable = self.measurable_pairs()
        weights = profile / profile.square().sum()
        shift_mv = torch.einsum("lsr,l->sr", self.effects_mv(), weights)
        error_mv = torch.einsum("lsr,l->sr", 1 / self.counts.clamp(min=1), weights.square()).sqrt() * sd_mv
        return torch.where(measurable, shift_mv, 0.0).float(), torch.where(measurable, error_mv, torch.inf).float()

    def variance_mv2(self) -> Float64[Tensor, ""]:
        """Return the variance of the innovations in mV2, averaged over receivers by their numbers of free steps."""
        return (self._variances_mv2() * self.n_steps).sum() / self.n_steps.sum().clamp(min=1)

    def _variances_mv2(self) -> Float64[Tensor, " receiver"]:
        mean_mv = self.totals_mv / self.n_steps.clamp(min=1)
        return (self.squares_mv2 / self.n_steps.clamp(min=1) - mean_mv**2).clamp(min=0)

    def measurable_pairs(self) -> Bool[Tensor, "sender receiver"]:
        """Return whether each pair has measurements at every lag; False on the diagonal."""
        return (self.counts > 0).all(0).fill_diagonal_(False)
