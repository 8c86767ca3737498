"""The two reference preparations: `brunel` (a new network per recording) and `organoid` (one network, new noise)."""

import brian2
import numpy as np
from brian2 import ms, mV
from jaxtyping import Float32

from voltpipe.simulation import brian2_model
from voltpipe.simulation.network import BRUNEL_NETWORK, GROUP_SIZE, draw_network
from voltpipe.simulation.settings import Preparation
from voltpipe.simulation.simulated_recording import SimulatedRecording


def record_organoid(group: int, network_seed: int, seconds: float, code_target: str) -> list[SimulatedRecording]:
    """Simulate recordings `group * GROUP_SIZE` to `(group + 1) * GROUP_SIZE` (exclusive) of one network.

    One Brian2 group holds `GROUP_SIZE` copies of the network, which is several times faster than separate simulations.
    Their noise is drawn together, from a seed derived from the network seed and the group.
    """
    weights_mv = draw_network(network_seed)
    seed = int(np.random.SeedSequence((network_seed, group)).generate_state(1)[0])
    brian2.seed(seed)
    neurons = brian2_model.neuron_group(GROUP_SIZE * BRUNEL_NETWORK.n_neurons)
    trace = brian2_model.record(neurons, (_connect_copies(neurons, weights_mv),), seconds)
    recordings = []
    for number in range(GROUP_SIZE):
        first_neuron = number * BRUNEL_NETWORK.n_neurons
        is_of_copy = trace.spike_neurons // BRUNEL_NETWORK.n_neurons == number
        recordings.append(
            SimulatedRecording(
                preparation=Preparation.ORGANOID,
                run=group * GROUP_SIZE + number,
                network_seed=network_seed,
                recording_seed=seed,
                code_target=code_target,
                rate_hz=BRUNEL_NETWORK.rate_hz,
                neuron_types=BRUNEL_NETWORK.neuron_types,
                voltage_mv=trace.voltage_mv[:, first_neuron : first_neuron + BRUNEL_NETWORK.n_neurons].copy(),
                spike_times_ms=trace.spike_times_ms[is_of_copy],
                spike_neurons=trace.spike_neurons[is_of_copy] - first_neuron,
                weights_mv=weights_mv,
            )
        )
    return recordings


def _connect_copies(neurons: brian2.NeuronGroup, weights_mv: Float32[np.ndarray, "channel channel"]) -> brian2.Synapses:
    sources, targets = np.nonzero(weights_mv)
    offsets = np.arange(GROUP_SIZE)[:, None] * BRUNEL_NETWORK.n_neurons
    synapses = brian2.Synapses(
        neurons, neurons, "weight : volt", on_pre="v += weight", delay=BRUNEL_NETWORK.delay_ms * ms
    )
    code_target = brian2.prefs.codegen.target
    brian2.prefs.codegen.target = "numpy"  # connections are made once, so compiling would take longer
    synapses.connect(i=(offsets + sources).ravel(), j=(offsets + targets).ravel())
    brian2.prefs.codegen.target = code_target
    synapses.weight = np.tile(weights_mv[sources, targets], GROUP_SIZE) * mV
    return synapses


def record_brunel(run: int, network_seed: int, seconds: float, code_target: str) -> SimulatedRecording:
    """Simulate one recording. Start voltages, network, noise and external input come from seed `network_seed + run`.

    With network seed 72 and code target "cython", recording 0 is the published one, spike for spike. This depends on
    the order of the random draws below: start voltages, excitatory connections, inhibitory connections.
    """
    brian2.seed(network_seed + run)
    group = brian2_model.neuron_group(BRUNEL_NETWORK.n_neurons)
    synapses = (
        _connect(group[: BRUNEL_NETWORK.n_excitatory], group, BRUNEL_NETWORK.excitatory_mv),
        _connect(group[BRUNEL_NETWORK.n_excitatory :], group, BRUNEL_NETWORK.inhibitory_mv),
    )
    weights_mv = np.zeros((BRUNEL_NETWORK.n_neurons, BRUNEL_NETWORK.n_neurons), np.float32)
    weights_mv[np.asarray(synapses[0].i), np.asarray(synapses[0].j)] = BRUNEL_NETWORK.excitatory_mv
    weights_mv[BRUNEL_NETWORK.n_excitatory + np.asarray(synapses[1].i), np.asarray(synapses[1].j)] = (
        BRUNEL_NETWORK.inhibitory_mv
    )
    trace = brian2_model.record(group, synapses, seconds)
    return SimulatedRecording(
        preparation=Preparation.BRUNEL,
        run=run,
        network_seed=network_seed + run,
        recording_seed=network_seed + run,
        code_target=code_target,
        rate_hz=BRUNEL_NETWORK.rate_hz,
        neuron_types=BRUNEL_NETWORK.neuron_types,
        voltage_mv=trace.voltage_mv,
        spike_times_ms=trace.spike_times_ms,
        spike_neurons=trace.spike_neurons,
        weights_mv=weights_mv,
    )


def _connect(sources: brian2.NeuronGroup, targets: brian2.NeuronGroup, weight_mv: float) -> brian2.Synapses:
    synapses = brian2.Synapses(
        sources, targets, on_pre="v += weight", delay=BRUNEL_NETWORK.delay_ms * ms, namespace={"weight": weight_mv * mV}
    )
    synapses.connect(p=BRUNEL_NETWORK.connection_probability)
    return synapses
