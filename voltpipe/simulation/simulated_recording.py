"""The result of a simulation: the voltage, and the true network that no rig can observe."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from voltpipe.simulation.settings import Preparation


@dataclass(frozen=True, eq=False)
class SimulatedRecording:
    """The voltage of all neurons of a simulated network, with its spikes and its connections.

    `weights_mv[source, target]` is the voltage in mV that a spike of the source adds to the target, and 0 where there
    is no connection.
    """

    preparation: Preparation
    run: int
    network_seed: int
    recording_seed: int
    code_target: str
    rate_hz: float
    neuron_types: tuple[str, ...]
    voltage_mv: Float32[np.ndarray, "time channel"]
    spike_times_ms: Float64[np.ndarray, " spike"]
    spike_neurons: Int64[np.ndarray, " spike"]
    weights_mv: Float32[np.ndarray, "channel channel"]

    @property
    def name(self) -> str:
        """The name of the recording within its organoid."""
        return f"run_{self.run:03d}"

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Values needed to simulate the recording again. Brian2's `code_target` sets the order of random draws."""
        return {
            "preparation": self.preparation.value,
            "run": self.run,
            "network_seed": self.network_seed,
            "recording_seed": self.recording_seed,
            "code_target": self.code_target,
        }
