"""The simulated network in numpy, for many copies at once. Unlike in Brian2, its state can be copied and branched."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int16

from voltpipe.simulation.network import BRUNEL_NETWORK

REFRACTORY_STEPS = round(BRUNEL_NETWORK.refractory_ms / BRUNEL_NETWORK.step_ms)
DELAY_STEPS = round(BRUNEL_NETWORK.delay_ms / BRUNEL_NETWORK.step_ms)
EXTERNAL_PROBABILITY = BRUNEL_NETWORK.external_rate_hz * BRUNEL_NETWORK.step_ms / 1e3
STEPS_PER_SAMPLE = round(BRUNEL_NETWORK.sample_ms / BRUNEL_NETWORK.step_ms)


@dataclass
class NetworkState:
    """The full state of `copy` copies of each of several networks. The future depends on it and on random draws."""

    weights_mv: Float32[np.ndarray, "network source target"]
    voltage_mv: Float32[np.ndarray, "network copy neuron"]
    clamped_steps: Int16[np.ndarray, "network copy neuron"]
    """Remaining steps of the refractory period."""
    in_flight: tuple[Bool[np.ndarray, "network copy neuron"], ...]
    """Spikes in transit, by steps until they arrive; the next ones come first."""
    external_rate_hz: float = BRUNEL_NETWORK.external_rate_hz

    @classmethod
    def start(
        cls, weights_mv: Float32[np.ndarray, "network source target"], n_copies: int, rng: np.random.Generator
    ) -> "NetworkState":
        """Draw the state at the start of a recording."""
        shape = (len(weights_mv), n_copies, weights_mv.shape[1])
        voltage_mv = rng.normal(BRUNEL_NETWORK.rest_mv, BRUNEL_NETWORK.start_sd_mv, shape).astype(np.float32)
        silent = np.zeros(shape, bool)
        return cls(weights_mv, voltage_mv, np.zeros(shape, np.int16), (silent,) * DELAY_STEPS)

    def branch(self, n_branches: int) -> "NetworkState":
        """Return the state with `n_branches` adjacent duplicates of each copy."""
        return replace(
            self,
            voltage_mv=self.voltage_mv.repeat(n_branches, axis=1),
            clamped_steps=self.clamped_steps.repeat(n_branches, axis=1),
            in_flight=tuple(spikes.repeat(n_branches, axis=1) for spikes in self.in_flight),
        )

    def advance(self, n_samples: int, rng: np.random.Generator) -> None:
        """Advance by `n_samples` samples of the recording."""
        for _ in range(n_samples * STEPS_PER_SAMPLE):
            self._step(rng)

    def _step(self, rng: np.random.Generator) -> None:
        """Take one Euler step in Brian2's order: membrane, threshold, arriving spikes and external input, reset."""
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
        remaining = np.maximum(self.clamped_steps - 1, 0)
        self.clamped_steps = np.where(spikes, REFRACTORY_STEPS - 1, remaining).astype(np.int16)
        self.in_flight = (*self.in_flight[1:], spikes)
