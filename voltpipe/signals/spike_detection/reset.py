"""Detection of the reset voltage and of spike onsets."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from voltpipe.signals.spike_detection.detector import SpikeDetector, SpikeStates

_SHARE = 0.01
"""Share of all samples that must lie at the reset voltage."""
_WIDTH_SD = 1e-3
"""Width within which they must lie, in standard deviations."""


@dataclass(frozen=True)
class ResetVoltage:
    """The voltage at which neurons stay after a spike, with a tolerance."""

    voltage_mv: float
    tolerance_mv: float


def find_reset_voltage(ascending_mv: Float[Tensor, " value"]) -> ResetVoltage | None:
    """Find the voltage at which at least 1 % of the samples lie within a thousandth of a standard deviation.

    There is none if, apart from these samples, 0.2 % of the others lie equally close together, as in coarsely digitized
    voltages, or if fewer than 10 % of all samples are left.

    Args:
        ascending_mv: samples of all channels in ascending order.

    Returns:
        The reset voltage, or None if there is none.
    """
    width_mv = _WIDTH_SD * float(ascending_mv.std())
    position, narrowest_mv = _narrowest_interval(ascending_mv, _SHARE)
    if narrowest_mv > width_mv:
        return None
    voltage_mv = float(ascending_mv[position])
    others_mv = ascending_mv[(ascending_mv - voltage_mv).abs() > width_mv]
    if len(others_mv) < len(ascending_mv) // 10 or _narrowest_interval(others_mv, _SHARE / 5)[1] <= width_mv:
        return None
    return ResetVoltage(voltage_mv, width_mv)


def _narrowest_interval(ascending: Float[Tensor, " value"], share: float) -> tuple[int, float]:
    """Return the position and the width of the narrowest interval that holds `share` of the values."""
    n_values = max(2, int(share * len(ascending)))
    widths = ascending[n_values - 1 :] - ascending[: len(ascending) - n_values + 1]
    narrowest = int(widths.argmin())
    return narrowest + n_values // 2, float(widths[narrowest])


def is_at_reset(
    voltage_mv: Float[Tensor, "*any"], reset_mv: Tensor | float, tolerance_mv: Tensor | float
) -> Bool[Tensor, "*any"]:
    """Return whether each sample is at the reset voltage. With a tolerance of zero, none is."""
    return (voltage_mv - reset_mv).abs() < tolerance_mv


def spike_onsets(at_reset: Bool[Tensor, "*batch time channel"]) -> Bool[Tensor, "*batch time channel"]:
    """Return whether each sample is a spike onset: the first one at the reset voltage.

    The first row has no sample before it, so it has no onset.
    """
    onsets = at_reset.clone()
    onsets[..., 1:, :] &= ~at_reset[..., :-1, :]
    onsets[..., :1, :] = False
    return onsets


@dataclass(frozen=True)
class ExactReset(SpikeDetector):
    """Spikes of simulated integrate-and-fire neurons, which stay at exactly one voltage after a spike."""

    kind: ClassVar[str] = "reset"

    voltage_mv: float
    tolerance_mv: float

    @property
    def memory_samples(self) -> int:
        """One: an onset is the first sample at the reset."""
        return 1

    def detect(self, voltage_mv: Float[Tensor, "*batch time channel"]) -> SpikeStates:
        """Detect arrivals at the reset voltage."""
        at_reset = is_at_reset(voltage_mv, self.voltage_mv, self.tolerance_mv)
        return SpikeStates(spike_onsets(at_reset), at_reset)
