"""Finds the voltage at which channels stand still, such as the reset after a spike."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

_SHARE = 0.01
_WIDTH_SD = 1e-3


@dataclass(frozen=True)
class ResetVoltage:
    """A single voltage that holds a noticeable share of all samples."""

    voltage_mv: float
    tolerance_mv: float


def find_reset_voltage(ascending_mv: Float[Tensor, " value"]) -> ResetVoltage | None:
    """The voltage around which more than 1 % of the samples lie within a thousandth of a standard deviation.

    Coarsely digitised voltages hold many such values; unless one stands out, there is none.

    Args:
        ascending_mv: samples of all channels in ascending order.
    """
    width_mv = _WIDTH_SD * float(ascending_mv.std())
    position, narrowest_mv = _tightest(ascending_mv, _SHARE)
    if narrowest_mv > width_mv:
        return None
    voltage_mv = float(ascending_mv[position])
    others_mv = ascending_mv[(ascending_mv - voltage_mv).abs() > width_mv]
    if len(others_mv) < len(ascending_mv) // 10 or _tightest(others_mv, _SHARE / 5)[1] <= width_mv:
        return None
    return ResetVoltage(voltage_mv, width_mv)


def _tightest(ascending: Float[Tensor, " value"], share: float) -> tuple[int, float]:
    """Where `share` of the values lie closest together (the middle one's position), and how wide they spread."""
    n_values = max(2, int(share * len(ascending)))
    widths = ascending[n_values - 1 :] - ascending[: len(ascending) - n_values + 1]
    narrowest = int(widths.argmin())
    return narrowest + n_values // 2, float(widths[narrowest])


def is_at_reset(
    voltage_mv: Float[Tensor, "*any"], reset_mv: Tensor | float, tolerance_mv: Tensor | float
) -> Bool[Tensor, "*any"]:
    """Whether each sample stands at the reset, the point mass of the voltage. A tolerance of zero is never met."""
    return (voltage_mv - reset_mv).abs() < tolerance_mv


def spike_onsets(at_reset: Bool[Tensor, "*batch time channel"]) -> Bool[Tensor, "*batch time channel"]:
    """The first sample of each stay at the reset: a spike began since the sample before.

    The first row has no sample before it, so it holds no onset.
    """
    begins = at_reset.clone()
    begins[..., 1:, :] &= ~at_reset[..., :-1, :]
    begins[..., 0, :] = False
    return begins
