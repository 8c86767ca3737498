"""The published network: its constants, and its random connections."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class BrunelNetwork:
    """Constants of the network. Excitatory neurons come first."""

    n_excitatory: int = 80
    n_inhibitory: int = 20
    connection_probability: float = 0.1
    """Probability of a connection for each ordered pair of neurons, including a neuron with itself."""

    tau_ms: float = 10.0
    rest_mv: float = -70.0
    """Resting voltage. It is also the reset voltage and the mean start voltage."""
    threshold_mv: float = -50.0
    refractory_ms: float = 2.0
    """Time after a spike in which the voltage stays at reset and input is lost."""

    excitatory_mv: float = 0.5
    inhibitory_mv: float = -2.75
    delay_ms: float = 1.5

    external_inputs: int = 8
    """Poisson inputs per neuron."""
    external_rate_hz: float = 500.0
    external_mv: float = 0.5

    noise_sd_mv: float = 0.5
    """Standard deviation of the normal noise that is drawn in each step."""
    noise_tau_ms: float = 1.0
    start_sd_mv: float = 2.0

    step_ms: float = 0.1
    sample_ms: float = 1.0

    @property
    def n_neurons(self) -> int:
        """Number of neurons, and so of channels."""
        return self.n_excitatory + self.n_inhibitory

    @property
    def neuron_types(self) -> tuple[str, ...]:
        """The type of each neuron, excitatory or inhibitory."""
        return ("excitatory",) * self.n_excitatory + ("inhibitory",) * self.n_inhibitory

    @property
    def rate_hz(self) -> float:
        """Sampling rate of the recorded voltage."""
        return 1000.0 / self.sample_ms


BRUNEL_NETWORK = BrunelNetwork()

GROUP_SIZE = 10
"""Number of recordings of one organoid that are simulated together. Their noise depends on it, so it is fixed."""


def draw_network(network_seed: int, network: BrunelNetwork = BRUNEL_NETWORK) -> Float32[np.ndarray, "channel channel"]:
    """Draw the weights (source, target) of a network in mV from its seed. They are 0 where there is no connection.

    Networks of the same size and seed have the same connections, even if their weights differ.
    """
    n = network.n_neurons
    connected = np.random.default_rng(network_seed).random((n, n)) < network.connection_probability
    signed_mv = np.repeat([network.excitatory_mv, network.inhibitory_mv], [network.n_excitatory, network.n_inhibitory])
    return np.where(connected, signed_mv[:, None], 0.0).astype(np.float32)
