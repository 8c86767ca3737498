"""Who drives whom, drawn from a seed."""

import numpy as np
from jaxtyping import Float32

from voltpipe.simulation.process import PROCESS


def draw_network(network_seed: int) -> Float32[np.ndarray, "channel channel"]:
    """Draw the weights in mV, (source, target), of the network that `network_seed` names; 0 where not connected."""
    n = PROCESS.n_neurons
    connected = np.random.default_rng(network_seed).random((n, n)) < PROCESS.connection_probability
    signed_mv = np.repeat([PROCESS.excitatory_mv, PROCESS.inhibitory_mv], [PROCESS.n_excitatory, PROCESS.n_inhibitory])
    return np.where(connected, signed_mv[:, None], 0.0).astype(np.float32)
