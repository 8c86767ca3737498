"""The connectivity of an organoid's channels, with its uncertainty."""

from dataclasses import dataclass
from enum import StrEnum

from jaxtyping import Float
from torch import Tensor

from voltpipe.signals.spike_detection import ResetVoltage


class SenderType(StrEnum):
    """Sign of the effect that a channel's spikes have on its receivers."""

    EXCITATORY = "excitatory"
    INHIBITORY = "inhibitory"
    UNKNOWN = "unknown"
    """The channel has no receivers, or its sign is not certain."""


@dataclass(frozen=True)
class Connectivity:
    """Estimated connectivity. Rows are senders, columns are receivers; no channel drives itself."""

    weights_mv: Float[Tensor, "sender receiver"]
    """Expected shift of the receiver's voltage after one spike of the sender, in mV (posterior mean)."""
    measured_mv: Float[Tensor, "sender receiver"]
    """Shift measured for the pair alone, without the prior."""
    standard_error_mv: Float[Tensor, "sender receiver"]
    """Standard error of the measured shift; infinite where nothing could be measured."""
    probability: Float[Tensor, "sender receiver"]
    """Probability that the pair is connected."""
    sender_types: tuple[SenderType, ...]
    reset: ResetVoltage
    """Voltage after a spike, from which spikes were detected."""
    delay_profile: Float[Tensor, " lag"]
    """Share of the shift that arrives 1, 2, ... samples after the spike onset."""
