"""The part of the state that samples hide, drawn anew given what they show.

A neuron that spikes stands at reset for two samples. Whatever the future depends on and a sample does not show follows
from when, between samples, each neuron that stands at reset has spiked: what is left of its refractory period, and
whether its spike still travels. A particle filter that knows the process and all weights draws these times.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from ceilings.sample_odds import KEPT_A_STEP, log_density_of_gain, spike_step_odds
from ceilings.stepper import DELAY_STEPS, REFRACTORY_STEPS, STEPS_A_SAMPLE, NetworkState
from voltpipe.simulation.network import BRUNEL_NETWORK

_LONG_AGO = 1000


def sample_hidden_states(
    weights_mv: Float32[np.ndarray, "network source target"],
    samples_mv: Float32[np.ndarray, "sample network copy neuron"],
    *,
    n_draws: int,
    n_particles: int,
    rng: np.random.Generator,
) -> NetworkState:
    """Draw `n_draws` states of each copy given its samples, next to each other as `NetworkState.branched` has them.

    At the second sample, spikes are taken to be as likely in each step as in any other; little of that is left three
    samples on. What follows is weighed by the process's own probabilities but for two approximations: the gain of a
    neuron that did not spike is weighed as if there were no threshold, and the particles are few.
    """
    particles = _Particles.guess(samples_mv[0], samples_mv[1], n_particles, rng)
    for sample_mv in samples_mv[2:]:
        particles = particles.given_next(sample_mv, weights_mv, rng)
    odds = np.full((*samples_mv.shape[1:3], n_particles), 1 / n_particles, np.float32)
    return particles.chosen(_draw(odds, n_draws, rng)).states(weights_mv)


@dataclass
class _Particles:
    """Equally likely states behind a sample."""

    sample_mv: Float32[np.ndarray, "network copy neuron"]
    steps_since_spike: Int64[np.ndarray, "network copy particle neuron"]

    @classmethod
    def guess(
        cls,
        before_mv: Float32[np.ndarray, "network copy neuron"],
        sample_mv: Float32[np.ndarray, "network copy neuron"],
        n_particles: int,
        rng: np.random.Generator,
    ) -> "_Particles":
        """What two samples say by themselves: who spiked in the last interval, and who in the one before."""
        n_networks, n_copies, n_neurons = sample_mv.shape
        ago = rng.integers(1, STEPS_A_SAMPLE + 1, (n_networks, n_copies, n_particles, n_neurons))
        ago += STEPS_A_SAMPLE * _at_reset(before_mv)[:, :, None]
        return cls(sample_mv, np.where(_at_reset(sample_mv)[:, :, None], ago, _LONG_AGO))

    def given_next(
        self,
        next_mv: Float32[np.ndarray, "network copy neuron"],
        weights_mv: Float32[np.ndarray, "network source target"],
        rng: np.random.Generator,
    ) -> "_Particles":
        """The particles a sample later, drawn by how well they foretold it."""
        n_particles = self.steps_since_spike.shape[2]
        spiked = network, copy, neuron = np.nonzero(_at_reset(next_mv) & ~_at_reset(self.sample_mv))
        before_mv = np.repeat(self.sample_mv[spiked], n_particles)
        odds = spike_step_odds(before_mv, self._arriving_mv(spiked, weights_mv).reshape(-1, STEPS_A_SAMPLE))
        odds = odds.reshape(-1, n_particles, STEPS_A_SAMPLE)
        log_weight = self._log_density(next_mv, weights_mv)
        np.add.at(log_weight, (network, copy), np.log(odds.sum(axis=2)))
        weight = np.exp(log_weight - log_weight.max(axis=2, keepdims=True))
        survivors = _draw(weight, n_particles, rng)
        ago = self.chosen(survivors).steps_since_spike + STEPS_A_SAMPLE
        odds = np.take_along_axis(odds, survivors[network, copy][:, :, None], axis=1)
        ago[network, copy, :, neuron] = STEPS_A_SAMPLE - _draw(odds, 1, rng)[:, :, 0]
        return _Particles(next_mv, ago)

    def chosen(self, particle: Int64[np.ndarray, "network copy chosen"]) -> "_Particles":
        """The particles of these numbers."""
        return _Particles(self.sample_mv, np.take_along_axis(self.steps_since_spike, particle[..., None], axis=2))

    def states(self, weights_mv: Float32[np.ndarray, "network source target"]) -> NetworkState:
        """Each particle's whole state, as a copy of its network."""
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
        left: Int64[np.ndarray, "network copy particle neuron"] = np.maximum(
            REFRACTORY_STEPS - self.steps_since_spike, 0
        )
        return left

    def _arrives_in(self) -> Int64[np.ndarray, "network copy particle neuron"]:
        """Steps until a neuron's last spike arrives; negative if it has."""
        return DELAY_STEPS - self.steps_since_spike

    def _arriving_mv(
        self, at: tuple[np.ndarray, ...], weights_mv: Float32[np.ndarray, "network source target"]
    ) -> Float32[np.ndarray, "case particle step"]:
        """What arrives in each step up to the next sample, at neurons given by network, copy and number."""
        network, copy, neuron = at
        arrives_in, onto_mv = self._arrives_in()[network, copy], weights_mv[network, :, neuron]
        steps = [((arrives_in == step) @ onto_mv[:, :, None])[:, :, 0] for step in range(STEPS_A_SAMPLE)]
        return np.stack(steps, axis=2)

    def _log_density(
        self,
        next_mv: Float32[np.ndarray, "network copy neuron"],
        weights_mv: Float32[np.ndarray, "network source target"],
    ) -> Float32[np.ndarray, "network copy particle"]:
        """Log density of the next sample's voltages of the neurons that do not stand at reset then."""
        clamped, arrives_in = self._clamped_steps(), self._arrives_in()
        lasts = KEPT_A_STEP ** np.arange(STEPS_A_SAMPLE)[::-1].astype(np.float32)
        arrives = (arrives_in >= 0) & (arrives_in < STEPS_A_SAMPLE)
        left = np.where(arrives, lasts[np.clip(arrives_in, 0, STEPS_A_SAMPLE - 1)], np.float32(0))
        left_mv = left @ weights_mv[:, None]
        # Those that leave reset before the next sample miss what arrives before they do.
        leaving = network, copy, neuron = np.nonzero(_at_reset(self.sample_mv) & ~_at_reset(next_mv))
        in_time = np.arange(STEPS_A_SAMPLE) >= clamped[network, copy, :, neuron][:, :, None]
        left_mv[network, copy, :, neuron] = (self._arriving_mv(leaving, weights_mv) * in_time) @ lasts
        n_steps = np.maximum(STEPS_A_SAMPLE - clamped, 0)
        start_mv, end_mv = ((mv - np.float32(BRUNEL_NETWORK.rest_mv))[:, :, None] for mv in (self.sample_mv, next_mv))
        gain_mv = end_mv - start_mv * (KEPT_A_STEP**n_steps).astype(np.float32) - left_mv
        log_density: Float32[np.ndarray, "network copy particle"] = np.where(
            _at_reset(next_mv)[:, :, None], np.float32(0), log_density_of_gain(gain_mv, n_steps)
        ).sum(axis=3)
        return log_density


def _at_reset(sample_mv: Float32[np.ndarray, "*shape"]) -> Bool[np.ndarray, "*shape"]:
    return np.asarray(sample_mv == np.float32(BRUNEL_NETWORK.rest_mv))


def _draw(
    weight: Float32[np.ndarray, "*shape option"], n_draws: int, rng: np.random.Generator
) -> Int64[np.ndarray, "*shape draw"]:
    """Options with a probability in proportion to their weight."""
    cumulative = weight.cumsum(axis=-1, dtype=np.float64)
    position = rng.random((*weight.shape[:-1], n_draws)) * cumulative[..., -1:]
    drawn: Int64[np.ndarray, "*shape draw"] = (position[..., None] >= cumulative[..., None, :]).sum(axis=-1)
    return drawn
