"""Random draws of the hidden part of the state, given the samples.

A neuron that spikes is at reset for two samples. The hidden state follows from the time between samples at which each
neuron at reset has spiked: the rest of its refractory period, and whether its spike is still in transit. A particle
filter that knows the network model and all weights draws these times.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from ceilings.sample_odds import KEPT_PER_STEP, log_density_of_gain, spike_step_odds
from ceilings.stepper import DELAY_STEPS, REFRACTORY_STEPS, STEPS_PER_SAMPLE, NetworkState
from voltpipe.simulation.network import BRUNEL_NETWORK

_LONG_AGO = 1000
"""Steps since the spike of a neuron that is not at reset."""


def sample_hidden_states(
    weights_mv: Float32[np.ndarray, "network source target"],
    samples_mv: Float32[np.ndarray, "sample network copy neuron"],
    *,
    n_draws: int,
    n_particles: int,
    rng: np.random.Generator,
) -> NetworkState:
    """Draw `n_draws` states of each copy given its samples, in the order of `NetworkState.branch`.

    At the second sample, a spike is assumed to be equally likely in each step. Three samples later, this hardly
    matters. The weights of later samples are the exact probabilities of the network model, with two approximations:
    the gain of a neuron without a spike is weighted as if there were no threshold, and there are few particles.
    """
    particles = _Particles.from_two_samples(samples_mv[0], samples_mv[1], n_particles, rng)
    for sample_mv in samples_mv[2:]:
        particles = particles.resample(sample_mv, weights_mv, rng)
    odds = np.full((*samples_mv.shape[1:3], n_particles), 1 / n_particles, np.float32)
    return particles.select(_draw(odds, n_draws, rng)).states(weights_mv)


@dataclass
class _Particles:
    """Equally likely states behind a sample."""

    sample_mv: Float32[np.ndarray, "network copy neuron"]
    steps_since_spike: Int64[np.ndarray, "network copy particle neuron"]

    @classmethod
    def from_two_samples(
        cls,
        before_mv: Float32[np.ndarray, "network copy neuron"],
        sample_mv: Float32[np.ndarray, "network copy neuron"],
        n_particles: int,
        rng: np.random.Generator,
    ) -> "_Particles":
        """Draw spike times from two samples, which show who spiked in the last interval and in the one before."""
        n_networks, n_copies, n_neurons = sample_mv.shape
        ago = rng.integers(1, STEPS_PER_SAMPLE + 1, (n_networks, n_copies, n_particles, n_neurons))
        ago += STEPS_PER_SAMPLE * _at_reset(before_mv)[:, :, None]
        return cls(sample_mv, np.where(_at_reset(sample_mv)[:, :, None], ago, _LONG_AGO))

    def resample(
        self,
        next_mv: Float32[np.ndarray, "network copy neuron"],
        weights_mv: Float32[np.ndarray, "network source target"],
        rng: np.random.Generator,
    ) -> "_Particles":
        """Return the particles one sample later, drawn in proportion to the probability of that sample."""
        n_particles = self.steps_since_spike.shape[2]
        spiked = network, copy, neuron = np.nonzero(_at_reset(next_mv) & ~_at_reset(self.sample_mv))
        before_mv = np.repeat(self.sample_mv[spiked], n_particles)
        odds = spike_step_odds(before_mv, self._arriving_mv(spiked, weights_mv).reshape(-1, STEPS_PER_SAMPLE))
        odds = odds.reshape(-1, n_particles, STEPS_PER_SAMPLE)
        log_weight = self._log_density(next_mv, weights_mv)
        np.add.at(log_weight, (network, copy), np.log(odds.sum(axis=2)))
        weight = np.exp(log_weight - log_weight.max(axis=2, keepdims=True))
        survivors = _draw(weight, n_particles, rng)
        ago = self.select(survivors).steps_since_spike + STEPS_PER_SAMPLE
        odds = np.take_along_axis(odds, survivors[network, copy][:, :, None], axis=1)
        ago[network, copy, :, neuron] = STEPS_PER_SAMPLE - _draw(odds, 1, rng)[:, :, 0]
        return _Particles(next_mv, ago)

    def select(self, particle: Int64[np.ndarray, "network copy selected"]) -> "_Particles":
        return _Particles(self.sample_mv, np.take_along_axis(self.steps_since_spike, particle[..., None], axis=2))

    def states(self, weights_mv: Float32[np.ndarray, "network source target"]) -> NetworkState:
        """Return the full state of each particle, as a copy of its network."""
        n_networks, n_copies, n_particles, n_neurons = self.steps_since_spike.shape
        shape = (n_networks, n_copies * n_particles, n_neurons)
        arrives_in = self._arrives_in().reshape(shape)
        return NetworkState(
            weights_mv=weights_mv,
            voltage_mv=self.sample_mv.repeat(n_particles, axis=1),
            clamped_steps=self._clamped_steps().reshape(shape).astype(np.int16),
            in_flight=tuple(arrives_in == step for step in range(DELAY_STEPS)),
        )

    def _clamped_steps(self) -> Int64[np.ndarray, "network copy particle neuron"]:
        remaining: Int64[np.ndarray, "network copy particle neuron"] = np.maximum(
            REFRACTORY_STEPS - self.steps_since_spike, 0
        )
        return remaining

    def _arrives_in(self) -> Int64[np.ndarray, "network copy particle neuron"]:
        """Return the steps until a neuron's last spike arrives; negative if it has arrived."""
        return DELAY_STEPS - self.steps_since_spike

    def _arriving_mv(
        self, at: tuple[np.ndarray, ...], weights_mv: Float32[np.ndarray, "network source target"]
    ) -> Float32[np.ndarray, "case particle step"]:
        """Return the input in each step until the next sample, for neurons given by network, copy and number."""
        network, copy, neuron = at
        arrives_in, onto_mv = self._arrives_in()[network, copy], weights_mv[network, :, neuron]
        steps = [((arrives_in == step) @ onto_mv[:, :, None])[:, :, 0] for step in range(STEPS_PER_SAMPLE)]
        return np.stack(steps, axis=2)

    def _log_density(
        self,
        next_mv: Float32[np.ndarray, "network copy neuron"],
        weights_mv: Float32[np.ndarray, "network source target"],
    ) -> Float32[np.ndarray, "network copy particle"]:
        """Return the log density of the voltages at the next sample, over the neurons that are not at reset then."""
        clamped, arrives_in = self._clamped_steps(), self._arrives_in()
        decay = KEPT_PER_STEP ** np.arange(STEPS_PER_SAMPLE)[::-1].astype(np.float32)
        arrives = (arrives_in >= 0) & (arrives_in < STEPS_PER_SAMPLE)
        share_left = np.where(arrives, decay[np.clip(arrives_in, 0, STEPS_PER_SAMPLE - 1)], np.float32(0))
        input_mv = share_left @ weights_mv[:, None]
        # Neurons that leave reset before the next sample lose the input that arrives earlier.
        leaving = network, copy, neuron = np.nonzero(_at_reset(self.sample_mv) & ~_at_reset(next_mv))
        in_time = np.arange(STEPS_PER_SAMPLE) >= clamped[network, copy, :, neuron][:, :, None]
        input_mv[network, copy, :, neuron] = (self._arriving_mv(leaving, weights_mv) * in_time) @ decay
        n_steps = np.maximum(STEPS_PER_SAMPLE - clamped, 0)
        start_mv, end_mv = ((mv - np.float32(BRUNEL_NETWORK.rest_mv))[:, :, None] for mv in (self.sample_mv, next_mv))
        gain_mv = end_mv - start_mv * (KEPT_PER_STEP**n_steps).astype(np.float32) - input_mv
        log_density: Float32[np.ndarray, "network copy particle"] = np.where(
            _at_reset(next_mv)[:, :, None], np.float32(0), log_density_of_gain(gain_mv, n_steps)
        ).sum(axis=3)
        return log_density


def _at_reset(sample_mv: Float32[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    return np.asarray(sample_mv == np.float32(BRUNEL_NETWORK.rest_mv))


def _draw(
    weight: Float32[np.ndarray, "*shape option"], n_draws: int, rng: np.random.Generator
) -> Int64[np.ndarray, "*shape draw"]:
    """Draw options with probabilities in proportion to their weights."""
    cumulative = weight.cumsum(axis=-1, dtype=np.float64)
    position = rng.random((*weight.shape[:-1], n_draws)) * cumulative[..., -1:]
    drawn: Int64[np.ndarray, "*shape draw"] = (position[..., None] >= cumulative[..., None, :]).sum(axis=-1)
    return drawn
