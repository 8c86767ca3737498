"""The choice of a spike detector, by evidence from training rows."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from voltpipe.signals.spike_detection.action_potential import ActionPotential
from voltpipe.signals.spike_detection.detector import SpikeDetector
from voltpipe.signals.spike_detection.detector_registry import detector_from_json
from voltpipe.signals.spike_detection.evidence import Evidence, Training
from voltpipe.signals.spike_detection.extracellular import Extracellular
from voltpipe.signals.spike_detection.find_action_potentials import find_action_potentials
from voltpipe.signals.spike_detection.find_extracellular import find_extracellular
from voltpipe.signals.spike_detection.find_noisy_reset import find_exact_reset, find_noisy_reset
from voltpipe.signals.spike_detection.noisy_reset import NoisyReset
from voltpipe.signals.spike_detection.reset import ExactReset

AUTO = "auto"
NO_SPIKES = "none"
SPIKE_KINDS = (AUTO, NO_SPIKES, ExactReset.kind, NoisyReset.kind, ActionPotential.kind, Extracellular.kind)
"""Values of a setting: the choice by evidence, no detector, or one kind."""
_MAX_VALUES = 20_000_000
"""Number of voltages that are searched; more would cost time and change little."""


@dataclass(frozen=True)
class DetectorChoice:
    """The detector that applies, if any, and the evidence for and against each kind that was looked for."""

    detector: SpikeDetector | None
    evidence: tuple[Evidence, ...]
    refusal: str | None = None
    """Code of a refusal: `spikes-not-found` or `spikes-differ`. None if the choice is valid."""

    @property
    def text(self) -> str:
        """Results of the search for each kind, in sentences."""
        return " ".join(evidence.text for evidence in self.evidence)

    def to_json(self) -> dict[str, Any]:
        """Return the choice as JSON. `from_json` restores it."""
        return {
            "detector": self.detector.to_json() if self.detector else None,
            "evidence": [evidence.to_json() for evidence in self.evidence],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "DetectorChoice":
        """Restore a choice from `to_json`."""
        detector = content["detector"]
        return cls(
            detector_from_json(detector) if detector else None,
            tuple(Evidence.from_json(evidence) for evidence in content["evidence"]),
        )


def choose_detector(
    segments_mv: Mapping[str, Sequence[Float[Tensor, "time channel"]]],
    rate_hz: float,
    kind: str = AUTO,
    ascending_mv: Float[Tensor, " value"] | None = None,
) -> DetectorChoice:
    """Choose the detector that applies to all organoids.

    Each organoid is searched on its own, for an exact reset, action potentials, a noisy reset and extracellular
    spikes, in this order. An organoid without spikes agrees with every kind. The detector is then fitted to all
    organoids together.

    Args:
        segments_mv: contiguous training samples of each organoid, in the order of time.
        rate_hz: sampling rate.
        kind: one of `SPIKE_KINDS`.
        ascending_mv: training samples in ascending order, from which an exact reset is found; all if not given.

    Returns:
        The choice. If a kind is set that no organoid has, or if organoids differ in kind, it has a `refusal`.
    """
    assert kind in SPIKE_KINDS, kind
    if kind == NO_SPIKES:
        return DetectorChoice(None, ())
    bounded = _bounded(segments_mv)
    pooled = Training([segment for segments in bounded.values() for segment in segments], rate_hz)
    if not pooled.n_samples:
        return DetectorChoice(None, (), None if kind == AUTO else "spikes-not-found")
    searches: dict[str, Callable[[Training], tuple[SpikeDetector | None, Evidence]]] = {
        ExactReset.kind: lambda training: find_exact_reset(training, ascending_mv if training is pooled else None),
        ActionPotential.kind: find_action_potentials,
        NoisyReset.kind: find_noisy_reset,
        Extracellular.kind: find_extracellular,
    }
    if kind != AUTO:
        detector, evidence = searches[kind](pooled)
        return DetectorChoice(detector, (evidence,), None if detector else "spikes-not-found")
    chosen, evidences = _search(pooled, searches)
    if len(bounded) > 1:
        own = {name: _search(Training(segments, rate_hz), searches)[0] for name, segments in bounded.items()}
        kinds = {detector.kind for detector in own.values() if detector}
        if len(kinds) > 1:
            differing = tuple(
                Evidence(detector.kind, True, "spikes-differ", f"{name}: {detector.kind}.")
                for name, detector in own.items()
                if detector
            )
            return DetectorChoice(None, differing, "spikes-differ")
        if len(kinds) == 1 and (chosen is None or chosen.kind not in kinds):
            detector, evidence = searches[kinds.pop()](pooled)
            if detector:
                return DetectorChoice(detector, (*evidences, evidence))
    return DetectorChoice(chosen, evidences)


def _search(
    training: Training, searches: Mapping[str, Callable[[Training], tuple[SpikeDetector | None, Evidence]]]
) -> tuple[SpikeDetector | None, tuple[Evidence, ...]]:
    evidences: list[Evidence] = []
    for search in searches.values():
        detector, evidence = search(training)
        evidences.append(evidence)
        if detector:
            return detector, tuple(evidences)
    return None, tuple(evidences)


def _bounded(segments_mv: Mapping[str, Sequence[Tensor]]) -> dict[str, list[Tensor]]:
    """Return the segments that have samples, each shortened by the same factor if there are too many samples."""
    n_values = sum(segment.numel() for segments in segments_mv.values() for segment in segments)
    share = min(1.0, _MAX_VALUES / max(1, n_values))
    shortened = {
        name: [segment[: math.ceil(share * len(segment))].contiguous() for segment in segments if segment.numel()]
        for name, segments in segments_mv.items()
    }
    return {name: segments for name, segments in shortened.items() if segments}
