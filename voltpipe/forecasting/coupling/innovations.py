"""Innovations: what a channel's step adds to the mean step from the voltage that it stands at."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from voltpipe.forecasting.coupling.spikes import standing_at
from voltpipe.forecasting.point_mass import PointMass

N_BINS = 200


@dataclass(frozen=True)
class MeanSteps:
    """The mean step from one sample to the next, in bins of the voltage before it.

    Only free steps count: those in which a channel neither spikes nor stands at the reset.
    """

    reset: PointMass
    edges_mv: Float[Tensor, " edge"]
    """The borders between bins, ascending; equal ones enclose bins that stay empty."""
    mean_mv: Float[Tensor, " bin"]

    @classmethod
    def fit(
        cls,
        voltages_mv: Iterable[Float[Tensor, "time channel"]],
        *,
        ascending_mv: Float[Tensor, " value"],
        reset: PointMass,
    ) -> "MeanSteps":
        """Average the free steps of some voltages; `ascending_mv`, a sample of them, gives bins of equal shares."""
        positions = torch.linspace(0, len(ascending_mv) - 1, N_BINS + 1)[1:-1].long()
        edges_mv = ascending_mv[positions]
        sums_mv, counts = torch.zeros(2, N_BINS, dtype=torch.float64)
        for voltage_mv in voltages_mv:
            is_free = free_steps(standing_at(voltage_mv, reset.voltage_mv, reset.tolerance_mv))
            bins = torch.bucketize(voltage_mv[:-1][is_free], edges_mv)
            sums_mv += torch.bincount(bins, weights=voltage_mv.diff(dim=0)[is_free].double(), minlength=N_BINS)
            counts += torch.bincount(bins, minlength=N_BINS)
        return cls(reset, edges_mv, (sums_mv / counts.clamp(min=1)).float())

    def innovations_mv(
        self, voltage_mv: Float[Tensor, "time channel"]
    ) -> tuple[Float[Tensor, "step channel"], Bool[Tensor, "step channel"]]:
        """What each free step adds to the mean step from its voltage, zero at the others; and which are free."""
        is_free = free_steps(standing_at(voltage_mv, self.reset.voltage_mv, self.reset.tolerance_mv))
        return innovations_mv(voltage_mv, is_free, self.edges_mv, self.mean_mv), is_free


def free_steps(at_reset: Bool[Tensor, "*batch time channel"]) -> Bool[Tensor, "*batch step channel"]:
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
