"""The published process: a Brunel network of leaky integrate-and-fire neurons. Its constants stand here, once.

The membrane obeys dv/dt = (rest - v) / tau + noise / noise_tau; a spike of a connected neuron or of an external
input shifts v at once. After Brunel (2000), https://doi.org/10.1023/A:1008925309027, made small and noisy.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class NetworkProcess:
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


PROCESS = NetworkProcess()

GROUP_SIZE = 10
"""Recordings of one organoid that are simulated at once. Their noise depends on this number, so it is fixed."""
