"""The kinds of detectors, by the name that is saved."""

from typing import Any

from voltpipe.signals.spike_detection.action_potential import ActionPotential
from voltpipe.signals.spike_detection.detector import SpikeDetector
from voltpipe.signals.spike_detection.extracellular import Extracellular
from voltpipe.signals.spike_detection.noisy_reset import NoisyReset
from voltpipe.signals.spike_detection.reset import ExactReset

DETECTORS: dict[str, type[SpikeDetector]] = {
    detector.kind: detector for detector in (ExactReset, NoisyReset, ActionPotential, Extracellular)
}


def detector_from_json(content: dict[str, Any]) -> SpikeDetector:
    """Restore a detector from `to_json`, also after a round trip through a JSON file."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    detector = DETECTORS[content["kind"]]
    return detector(**{name: value for name, value in fields.items() if name != "kind"})
