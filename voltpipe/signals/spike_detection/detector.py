"""The interface of all spike detectors."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class SpikeStates:
    """Onsets of spikes, and the samples during a spike."""

    onsets: Bool[Tensor, "*batch time channel"]
    """The first sample of each spike."""
    in_spike: Bool[Tensor, "*batch time channel"]
    """From the onset until the spike is over. Meanwhile, a step of the voltage says nothing about synaptic input."""

    def last(self, n_rows: int) -> "SpikeStates":
        """Return the states of the last `n_rows` rows."""
        first = self.onsets.shape[-2] - n_rows
        return SpikeStates(self.onsets[..., first:, :], self.in_spike[..., first:, :])


@dataclass(frozen=True)
class SpikeDetector(ABC):
    """Causal detector of one kind of spikes.

    The states of a row depend on that row and on the `memory_samples` rows before it, and on nothing else. So windows,
    chunks and whole recordings agree exactly after their first `memory_samples` rows. Rows before the first one count
    as rows without a spike.
    """

    kind: ClassVar[str]
    """Stable name, in kebab case."""

    @property
    @abstractmethod
    def memory_samples(self) -> int:
        """Number of earlier samples that a state depends on."""

    @abstractmethod
    def detect(self, voltage_mv: Float[Tensor, "*batch time channel"]) -> SpikeStates:
        """Detect the spikes in voltages in mV."""

    def to_json(self) -> dict[str, Any]:
        """Return the kind and the parameters. `detector_from_json` restores the detector."""
        return {"kind": self.kind, **asdict(self)}


class SpikeStream:
    """Detection in a stream, chunk by chunk. The result equals that of `detect` on all chunks together.

    Args:
        detector: the detector.
    """

    def __init__(self, detector: SpikeDetector) -> None:
        self._detector = detector
        self._known_mv: Tensor | None = None

    def add(self, voltage_mv: Float[Tensor, "*batch time channel"]) -> SpikeStates:
        """Return the states of the next samples, in mV."""
        known_mv = voltage_mv if self._known_mv is None else torch.cat([self._known_mv, voltage_mv], dim=-2)
        self._known_mv = known_mv[..., max(0, known_mv.shape[-2] - self._detector.memory_samples) :, :].clone()
        return self._detector.detect(known_mv).last(voltage_mv.shape[-2])


def previous(values: Tensor, fill: float) -> Tensor:
    """Return the values of the row before each row of (*batch, time, channel); `fill` for the first row."""
    first = torch.full_like(values[..., :1, :], fill)
    return torch.cat([first, values[..., :-1, :]], dim=-2)


def rows_since(
    happened: Bool[Tensor, "*batch time channel"],
) -> Float[Tensor, "*batch time channel"]:
    """Return the number of rows since something last happened: 0 where it happens, infinity before the first time."""
    row = torch.arange(happened.shape[-2], dtype=torch.float64).unsqueeze(-1)
    if not happened.shape[-2]:
        return happened.double()
    latest = torch.where(happened, row, -torch.inf).cummax(dim=-2).values
    return row - latest


def states_of_crossings(crossings: Bool[Tensor, "*batch time channel"], dead_samples: int) -> SpikeStates:
    """Return the states of threshold crossings with a dead time.

    A crossing is an onset if no other crossing lies within the `dead_samples` rows before it, so the dead time is
    paralyzable (Knoll, Radiation Detection and Measurement, 2010, chapter 4). A spike lasts for the dead time after
    each crossing.
    """
    since = rows_since(crossings)
    return SpikeStates(
        onsets=crossings & (previous(since, torch.inf) >= dead_samples), in_spike=since < max(1, dead_samples)
    )
