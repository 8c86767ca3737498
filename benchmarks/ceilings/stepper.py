"""The process in numpy, for many copies at once. Unlike Brian2's, its state can be copied and so branched."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int16

from voltpipe.simulation.network import BRUNEL_NETWORK

REFRACTORY_STEPS = round(BRUNEL_NETWORK.refractory_ms / BRUNEL_NETWORK.step_ms)
DELAY_STEPS = round(BRUNEL_NETWORK.delay_ms / BRUNEL_NETWORK.step_ms)
EXTERNAL_PROBABILITY = BRUNEL_NETWORK.external_rate_hz * BRUNEL_NETWORK.step_ms / 1e3
STEPS_A_SAMPLE = round(BRUNEL_NETWORK.sample_ms / BRUNEL_NETWORK.step_ms)


@dataclass
class NetworkState:
    """All that the future of `copy` copies of each of several networks depends on, besides draws yet to come."""

    weights_mv: Float32[np.ndarray, "network source target"]
    voltage_mv: Float32[np.ndarray, "network copy neuron"]
    clamped_steps: Int16[np.ndarray, "network copy neuron"]
    """Steps for which the neuron is still refractory."""
    in_flight: tuple[Bool[np.ndarray, "network copy neuron"], ...]
    """Spikes on their way, those that arrive next first."""
    external_rate_hz: float = BRUNEL_NETWORK.external_rate_hz

    @classmethod
    def start(
        cls, weights_mv: Float32[np.ndarray, "network source target"], n_copies: int, rng: np.random.Generator
    ) -> "NetworkState":
        """Draw the state in which a recording starts."""
        shape = (len(weights_mv), n_copies, weights_mv.shape[1])
        voltage_mv = rng.normal(BRUNEL_NETWORK.rest_mv, BRUNEL_NETWORK.start_sd_mv, shape).astype(np.float32)
        silent = np.zeros(shape, bool)
        return cls(weights_mv, voltage_mv, np.zeros(shape, np.int16), (silent,) * DELAY_STEPS)

    def branched(self, n_branches: int) -> "NetworkState":
        """The state with each copy `n_branches` times, next to each other."""
        return replace(
            self,
            voltage_mv=self.voltage_mv.repeat(n_branches, axis=1),
            clamped_steps=self.clamped_steps.repeat(n_branches, axis=1),
            in_flight=tuple(spikes.repeat(n_branches, axis=1) for spikes in self.in_flight),
        )

    def advance(self, n_samples: int, rng: np.random.Generator) -> None:
        """Go on by `n_samples` samples of the recording."""
        for _ in range(n_samples * STEPS_A_SAMPLE):
            self._step(rng)

    def _step(self, rng: np.random.Generator) -> None:
        """One Euler step in Brian2's order: membrane, threshold, arriving spikes and drive, reset."""
        v, shape = self.voltage_mv, self.voltage_mv.shape
        noise_mv = np.float32(BRUNEL_NETWORK.noise_sd_mv) * rng.standard_normal(shape, np.float32)
        slope = (BRUNEL_NETWORK.rest_mv - v) / BRUNEL_NETWORK.tau_ms + noise_mv / BRUNEL_NETWORK.noise_tau_ms
        active = self.clamped_steps == 0
        v = np.where(active, v + BRUNEL_NETWORK.step_ms * slope, v)
        spikes = active & (v > BRUNEL_NETWORK.threshold_mv)
        external_probability = self.external_rate_hz * BRUNEL_NETWORK.step_ms / 1e3
        external = rng.binomial(BRUNEL_NETWORK.external_inputs, external_probability, shape).astype(np.float32)
        arriving_mv = self.in_flight[0].astype(np.float32) @ self.weights_mv + external * BRUNEL_NETWORK.external_mv
        v = np.where(active, v + arriving_mv, v)
        self.voltage_mv = np.where(spikes, np.float32(BRUNEL_NETWORK.rest_mv), v)
        waiting = np.maximum(self.clamped_steps - 1, 0)
        self.clamped_steps = np.where(spikes, REFRACTORY_STEPS - 1, waiting).astype(np.int16)
        self.in_flight = (*self.in_flight[1:], spikes)
