"""`organoid`: one network, recorded many times with other noise."""

import brian2
import numpy as np
from brian2 import ms, mV
from jaxtyping import Float32

from voltpipe.simulation import brian
from voltpipe.simulation.network import draw_network
from voltpipe.simulation.process import GROUP_SIZE, PROCESS
from voltpipe.simulation.settings import Preparation
from voltpipe.simulation.simulated_recording import SimulatedRecording


def record_group(group: int, network_seed: int, seconds: float, code_target: str) -> list[SimulatedRecording]:
    """Simulate the recordings `group * GROUP_SIZE` to `(group + 1) * GROUP_SIZE` (not included) of one network.

    They are one Brian2 group in which the network stands `GROUP_SIZE` times side by side, which is several times
    faster than one by one. Their noise is drawn together, from a seed made of network seed and group.
    """
    weights_mv = draw_network(network_seed)
    seed = int(np.random.SeedSequence((network_seed, group)).generate_state(1)[0])
    brian2.seed(seed)
    neurons = brian.neuron_group(GROUP_SIZE * PROCESS.n_neurons)
    trace = brian.record(neurons, (_side_by_side(neurons, weights_mv),), seconds)
    recordings = []
    for block in range(GROUP_SIZE):
        first_neuron = block * PROCESS.n_neurons
        own = trace.spike_neurons // PROCESS.n_neurons == block
        recordings.append(
            SimulatedRecording(
                preparation=Preparation.ORGANOID,
                run=group * GROUP_SIZE + block,
                network_seed=network_seed,
                recording_seed=seed,
                code_target=code_target,
                rate_hz=PROCESS.rate_hz,
                neuron_types=PROCESS.neuron_types,
                voltage_mv=trace.voltage_mv[:, first_neuron : first_neuron + PROCESS.n_neurons].copy(),
                spike_times_ms=trace.spike_times_ms[own],
                spike_neurons=trace.spike_neurons[own] - first_neuron,
                weights_mv=weights_mv,
            )
        )
    return recordings


def _side_by_side(neurons: brian2.NeuronGroup, weights_mv: Float32[np.ndarray, "channel channel"]) -> brian2.Synapses:
    sources, targets = np.nonzero(weights_mv)
    offsets = np.arange(GROUP_SIZE)[:, None] * PROCESS.n_neurons
    synapses = brian2.Synapses(neurons, neurons, "weight : volt", on_pre="v += weight", delay=PROCESS.delay_ms * ms)
    code_target = brian2.prefs.codegen.target
    brian2.prefs.codegen.target = "numpy"  # wiring runs once: to compile it would take longer
    synapses.connect(i=(offsets + sources).ravel(), j=(offsets + targets).ravel())
    brian2.prefs.codegen.target = code_target
    synapses.weight = np.tile(weights_mv[sources, targets], GROUP_SIZE) * mV
    return synapses
