"""Who drives whom, drawn from a seed."""

import numpy as np
from jaxtyping import Float32

from voltpipe.simulation.process import PROCESS, NetworkProcess


def draw_network(network_seed: int, process: NetworkProcess = PROCESS) -> Float32[np.ndarray, "channel channel"]:
    """Draw the weights in mV, (source, target), of the network that `network_seed` names; 0 where not connected.

    Of one size and seed, processes with other weights have the same connections.
    """
    n = process.n_neurons
    connected = np.random.default_rng(network_seed).random((n, n)) < process.connection_probability
    signed_mv = np.repeat([process.excitatory_mv, process.inhibitory_mv], [process.n_excitatory, process.n_inhibitory])
    return np.where(connected, signed_mv[:, None], 0.0).astype(np.float32)
