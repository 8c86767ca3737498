"""The coupling of an organoid's channels, with its certainty."""

from dataclasses import dataclass
from enum import StrEnum

from jaxtyping import Float
from torch import Tensor

from voltpipe.signals.spike_detection import ResetVoltage


class SenderType(StrEnum):
    """What a channel's spikes do to those that it reaches."""

    EXCITATORY = "excitatory"
    INHIBITORY = "inhibitory"
    UNKNOWN = "unknown"
    """It reaches none, or not so clearly that its sign can be told."""


@dataclass(frozen=True)
class Connectivity:
    """Who drives whom, as far as the recordings show it. Rows send, columns receive; no channel drives itself."""

    weights_mv: Float[Tensor, "sender receiver"]
    """The expected shift of the receiver's voltage by one spike of the sender, in mV, given all evidence."""
    measured_mv: Float[Tensor, "sender receiver"]
    """The shift as measured for the pair alone."""
    standard_error_mv: Float[Tensor, "sender receiver"]
    """Of what was measured; infinite where nothing could be."""
    probability: Float[Tensor, "sender receiver"]
    """That the pair is connected."""
    sender_types: tuple[SenderType, ...]
    reset: ResetVoltage
    """Where the voltage stands after a spike, by which spikes were seen."""
    delay_profile: Float[Tensor, " lag"]
    """The share of a shift that comes 1, 2, ... samples after the sample in which the spike is first seen."""
