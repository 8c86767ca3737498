"""Evidence for or against a kind of spikes, in figures and in words."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from voltpipe.signals.spike_detection.detector import SpikeDetector

MAX_AT_ONCE = 0.5
"""Largest share of onsets that most channels have at the same time. Artefacts reach all electrodes at once."""
_MIN_CHANNELS_AT_ONCE = 4


@dataclass(frozen=True)
class Evidence:
    """Result of the search for one kind of spikes."""

    kind: str
    applies: bool
    code: str
    """Stable name of the result, in kebab case: `found`, or why this kind does not apply."""
    text: str
    """The result in one sentence, with its figures."""
    figures: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields. `from_json` restores the evidence."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Evidence":
        """Restore evidence from `to_json`."""
        return cls(**content)


@dataclass(frozen=True)
class Training:
    """Training segments of one organoid or of several, and their rate."""

    segments_mv: Sequence[Float[Tensor, "time channel"]]
    rate_hz: float

    @property
    def seconds(self) -> float:
        """Total length in seconds."""
        return sum(len(segment) for segment in self.segments_mv) / self.rate_hz

    @property
    def n_samples(self) -> int:
        """Number of samples of all channels."""
        return sum(segment.numel() for segment in self.segments_mv)

    def values_mv(self) -> Float[np.ndarray, " value"]:
        """Return all samples in mV."""
        return np.concatenate([segment.numpy().ravel() for segment in self.segments_mv])

    def steps_mv(self) -> Float[np.ndarray, " step"]:
        """Return the differences between successive samples in mV."""
        return np.concatenate([np.diff(segment.numpy(), axis=0).ravel() for segment in self.segments_mv])


def lengths_of_stays(stays: Bool[Tensor, "time channel"]) -> Float[np.ndarray, " stay"]:
    """Return the length in samples of each stay that begins and ends within the rows."""
    padded = torch.zeros(1, stays.shape[1], dtype=torch.int8)
    change = torch.diff(torch.cat([padded, stays.to(torch.int8), padded]), dim=0).T
    first, last = (change == 1).nonzero()[:, 1], (change == -1).nonzero()[:, 1]
    inside = (first > 0) & (last < len(stays))
    return np.asarray((last - first)[inside].numpy(), dtype=np.float64)


def share_at_once(detector: SpikeDetector, training: Training, margin: int) -> float:
    """Return the share of onsets around which, within `margin` samples, more than half of all channels have one.

    It is 0 with fewer than four channels.
    """
    n_onsets, n_at_once = 0, 0
    for segment in training.segments_mv:
        if segment.shape[1] < _MIN_CHANNELS_AT_ONCE or not len(segment):
            continue
        onsets = detector.detect(segment).onsets
        so_far = torch.nn.functional.pad(onsets.int(), (0, 0, margin + 1, margin)).cumsum(0)
        has_near = so_far[2 * margin + 1 :] > so_far[: -2 * margin - 1]
        n_onsets += int(onsets.sum())
        n_at_once += int(onsets[has_near.float().mean(1) > 0.5].sum())
    return n_at_once / max(1, n_onsets)
