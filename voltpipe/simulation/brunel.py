"""`brunel`: a new network for each recording, with the published random draws."""

import brian2
import numpy as np
from brian2 import ms, mV

from voltpipe.simulation import brian
from voltpipe.simulation.process import PROCESS
from voltpipe.simulation.settings import Preparation
from voltpipe.simulation.simulated_recording import SimulatedRecording


def record_brunel(run: int, network_seed: int, seconds: float, code_target: str) -> SimulatedRecording:
    """Simulate one run. Start, network, noise and drive all come from one seed, `network_seed + run`.

    With network seed 72 and the code target "cython" run 0 is the published one spike for spike. That depends on the
    order in which the objects below are made and draw: start, excitatory connections, inhibitory connections.
    """
    brian2.seed(network_seed + run)
    group = brian.neuron_group(PROCESS.n_neurons)
    synapses = (
        _connected(group[: PROCESS.n_excitatory], group, PROCESS.excitatory_mv),
        _connected(group[PROCESS.n_excitatory :], group, PROCESS.inhibitory_mv),
    )
    weights_mv = np.zeros((PROCESS.n_neurons, PROCESS.n_neurons), np.float32)
    weights_mv[np.asarray(synapses[0].i), np.asarray(synapses[0].j)] = PROCESS.excitatory_mv
    weights_mv[PROCESS.n_excitatory + np.asarray(synapses[1].i), np.asarray(synapses[1].j)] = PROCESS.inhibitory_mv
    trace = brian.record(group, synapses, seconds)
    return SimulatedRecording(
        preparation=Preparation.BRUNEL,
        run=run,
        network_seed=network_seed + run,
        recording_seed=network_seed + run,
        code_target=code_target,
        rate_hz=PROCESS.rate_hz,
        neuron_types=PROCESS.neuron_types,
        voltage_mv=trace.voltage_mv,
        spike_times_ms=trace.spike_times_ms,
        spike_neurons=trace.spike_neurons,
        weights_mv=weights_mv,
    )


def _connected(sources: brian2.NeuronGroup, targets: brian2.NeuronGroup, weight_mv: float) -> brian2.Synapses:
    synapses = brian2.Synapses(
        sources, targets, on_pre="v += weight", delay=PROCESS.delay_ms * ms, namespace={"weight": weight_mv * mV}
    )
    synapses.connect(p=PROCESS.connection_probability)
    return synapses
