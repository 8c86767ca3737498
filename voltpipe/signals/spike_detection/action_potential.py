"""Action potentials of a membrane."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.signals.spike_detection.detector import SpikeDetector, SpikeStates, previous, states_of_crossings


@dataclass(frozen=True)
class ActionPotential(SpikeDetector):
    """Action potentials: upward crossings of a threshold, with a dead time."""

    kind: ClassVar[str] = "action-potential"

    threshold_mv: float
    dead_samples: int

    @property
    def memory_samples(self) -> int:
        """The dead time and one more sample, since a crossing takes two."""
        return self.dead_samples + 1

    def detect(self, voltage_mv: Float[Tensor, "*batch time channel"]) -> SpikeStates:
        """Detect upward crossings of the threshold."""
        is_above = voltage_mv >= self.threshold_mv
        return states_of_crossings(is_above & (previous(voltage_mv, torch.inf) < self.threshold_mv), self.dead_samples)
