"""Spike detection in any voltage: one interface, four kinds of spikes, and the choice between them.

The window set, the torch core and the diagnostics still use the exact reset only; see `reset.py`.
"""

from voltpipe.signals.spike_detection.action_potential import ActionPotential
from voltpipe.signals.spike_detection.choose_detector import SPIKE_KINDS, DetectorChoice, choose_detector
from voltpipe.signals.spike_detection.detector import SpikeDetector, SpikeStates, SpikeStream
from voltpipe.signals.spike_detection.detector_registry import detector_from_json
from voltpipe.signals.spike_detection.evidence import Evidence
from voltpipe.signals.spike_detection.extracellular import Extracellular
from voltpipe.signals.spike_detection.noisy_reset import NoisyReset
from voltpipe.signals.spike_detection.reset import (
    ExactReset,
    ResetVoltage,
    find_reset_voltage,
    is_at_reset,
    spike_onsets,
)

__all__ = [
    "SPIKE_KINDS",
    "ActionPotential",
    "DetectorChoice",
    "Evidence",
    "ExactReset",
    "Extracellular",
    "NoisyReset",
    "ResetVoltage",
    "SpikeDetector",
    "SpikeStates",
    "SpikeStream",
    "choose_detector",
    "detector_from_json",
    "find_reset_voltage",
    "is_at_reset",
    "spike_onsets",
]
