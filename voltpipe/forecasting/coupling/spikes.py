"""Sees spikes in sampled voltages, causally: after a spike the voltage stands at the reset."""

from jaxtyping import Bool, Float
from torch import Tensor


def standing_at(
    voltage_mv: Float[Tensor, "*any"], reset_mv: Tensor | float, tolerance_mv: Tensor | float
) -> Bool[Tensor, "*any"]:
    """Whether each sample stands at the reset, the point mass of the voltage. A tolerance of zero is never met."""
    return (voltage_mv - reset_mv).abs() < tolerance_mv


def onsets(at_reset: Bool[Tensor, "*batch time channel"]) -> Bool[Tensor, "*batch time channel"]:
    """The first sample of each stay at the reset: a spike began since the sample before.

    The first row has no sample before it, so it holds no onset.
    """
    begins = at_reset.clone()
    begins[..., 1:, :] &= ~at_reset[..., :-1, :]
    begins[..., 0, :] = False
    return begins
