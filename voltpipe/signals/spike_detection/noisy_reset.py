"""A fall toward the reset under noise."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.signals.spike_detection.detector import SpikeDetector, SpikeStates, previous, rows_since


@dataclass(frozen=True)
class NoisyReset(SpikeDetector):
    """Spikes of integrate-and-fire neurons whose reset is blurred by noise or by converter steps.

    An onset is a fall of at least `min_fall_mv` within one sample that lands near the reset. The spike lasts while the
    voltage stays near the reset, for at most `dwell_samples` samples.
    """

    kind: ClassVar[str] = "noisy-reset"

    voltage_mv: float
    tolerance_mv: float
    min_fall_mv: float
    dwell_samples: int

    @property
    def memory_samples(self) -> int:
        """The longest stay at the reset, since a spike that began before it is over."""
        return self.dwell_samples

    def detect(self, voltage_mv: Float[Tensor, "*batch time channel"]) -> SpikeStates:
        """Detect falls toward the reset."""
        is_near = (voltage_mv - self.voltage_mv).abs() <= self.tolerance_mv
        onsets = is_near & (previous(voltage_mv, -torch.inf) - voltage_mv >= self.min_fall_mv)
        since_onset = rows_since(onsets)
        stays = rows_since(~is_near) > since_onset
        return SpikeStates(onsets, is_near & stays & (since_onset < self.dwell_samples))
