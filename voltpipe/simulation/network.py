"""Who drives whom, drawn from a seed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class BrunelNetwork:
    """Sizes, voltages in mV, times in ms and rates in Hz of one network. Excitatory neurons come first."""

    n_excitatory: int = 80
    n_inhibitory: int = 20
    connection_probability: float = 0.1
    """Of every ordered pair, a neuron with itself included."""

    tau_ms: float = 10.0
    rest_mv: float = -70.0
    """Also where a spike resets to, and the mean at the start."""
    threshold_mv: float = -50.0
    refractory_ms: float = 2.0
    """The voltage stays at reset meanwhile, and input is lost."""

    excitatory_mv: float = 0.5
    inhibitory_mv: float = -2.75
    delay_ms: float = 1.5

    external_inputs: int = 8
    """Poisson inputs a neuron."""
    external_rate_hz: float = 500.0
    external_mv: float = 0.5

    noise_sd_mv: float = 0.5
    """Of a normal draw, fresh at each step."""
    noise_tau_ms: float = 1.0
    start_sd_mv: float = 2.0

    step_ms: float = 0.1
    sample_ms: float = 1.0

    @property
    def n_neurons(self) -> int:
        """Neurons, hence channels."""
        return self.n_excitatory + self.n_inhibitory

    @property
    def neuron_types(self) -> tuple[str, ...]:
        """One a neuron: excitatory or inhibitory."""
        return ("excitatory",) * self.n_excitatory + ("inhibitory",) * self.n_inhibitory

    @property
    def rate_hz(self) -> float:
        """At which the voltage is recorded."""
        return 1000.0 / self.sample_ms


BRUNEL_NETWORK = BrunelNetwork()

GROUP_SIZE = 10
"""Recordings of one organoid that are simulated at once. Their noise depends on this number, so it is fixed."""


def draw_network(network_seed: int, process: BrunelNetwork = BRUNEL_NETWORK) -> Float32[np.ndarray, "channel channel"]:
    """Draw the weights in mV, (source, target), of the network that `network_seed` names; 0 where not connected.

    Of one size and seed, processes with other weights have the same connections.
    """
    n = process.n_neurons
    connected = np.random.default_rng(network_seed).random((n, n)) < process.connection_probability
    signed_mv = np.repeat([process.excitatory_mv, process.inhibitory_mv], [process.n_excitatory, process.n_inhibitory])
    return np.where(connected, signed_mv[:, None], 0.0).astype(np.float32)
