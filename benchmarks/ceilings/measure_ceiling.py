"""Measurement of both predictability ceilings and of the irreducible error, by simulating many futures of each state.

If the full state is known, the best forecast is the mean of its futures, and the remaining error is their variance.
So R2 = 1 - E[variance within the futures of a state] / (variance of all futures), by the law of total variance.

If only samples are known, the best forecast is also averaged over the possible states. It has no information beyond the
full state, so its squared error is larger by exactly E[(its forecast - the forecast from the full state)^2]. This holds
for any forecast from samples. `sample_hidden_states` weights the states only approximately, which can only make the
forecast worse. So the observable ceiling may be measured too low, but never too high.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from ceilings.hidden_state import sample_hidden_states
from ceilings.stepper import NetworkState
from voltpipe.simulation.ceiling import EDGES_MV, HORIZONS_MS, Ceiling
from voltpipe.simulation.network import BRUNEL_NETWORK

_SETTLING_SAMPLES = 500
_SAMPLES_APART = 50
"""Samples between branchings. Most of the state is forgotten by then: see the ceiling at 20 ms."""
_PAST_SAMPLES = 6
"""Number of samples given for the draws of the hidden state. More did not improve the draws."""


@dataclass(frozen=True)
class Ceilings:
    """The best possible R2, from the full state and from samples."""

    full_state: Ceiling
    observable: Ceiling
    hidden: Ceiling
    """Difference of the two. They share their noise, so its standard error is much smaller than theirs."""


def measure_ceilings(
    weights_mv: Float32[np.ndarray, "network source target"],
    *,
    n_copies: int,
    n_states: int,
    n_branches: int,
    n_particles: int,
    seed: int,
) -> Ceilings:
    """Measure both ceilings from `n_states` states of `n_copies` copies of each network.

    Each state is branched into `n_branches` futures twice: from the full state, and from states drawn with
    `n_particles` given the samples, with the same future noise. The standard error is that of the jackknife over
    networks and copies, of which there must be at least two in total.
    """
    rng = np.random.default_rng(seed)
    (particle_rng,) = rng.spawn(1)
    state = NetworkState.start(weights_mv, n_copies, rng)
    state.advance(_SETTLING_SAMPLES, rng)
    moments = np.zeros((4, len(HORIZONS_MS), len(weights_mv) * n_copies))
    for _ in range(n_states):
        state.advance(_SAMPLES_APART - _PAST_SAMPLES, rng)
        samples_mv = np.stack([_next_sample(state, rng) for _ in range(_PAST_SAMPLES)])
        drawn = sample_hidden_states(
            weights_mv, samples_mv, n_draws=n_branches, n_particles=n_particles, rng=particle_rng
        )
        moments += _moments(state.branch(n_branches), drawn, n_branches, rng)
    moments /= n_states
    return Ceilings(
        full_state=_jackknife(lambda within, hidden, variance: 1 - within / variance, moments),
        observable=_jackknife(lambda within, hidden, variance: 1 - (within + hidden) / variance, moments),
        hidden=_jackknife(lambda within, hidden, variance: hidden / variance, moments),
    )


def _next_sample(state: NetworkState, rng: np.random.Generator) -> Float32[np.ndarray, "network copy neuron"]:
    state.advance(1, rng)
    return state.voltage_mv


def _moments(
    full: NetworkState, drawn: NetworkState, n_branches: int, rng: np.random.Generator
) -> Float64[np.ndarray, "4 horizon batch"]:
    """Return four statistics by horizon for each copy of each network, in mV from rest.

    They are the variance within the futures of the full state, the squared difference between the mean futures of the
    drawn states and of the full state, and the mean and the mean square of all futures of the full state.
    """
    same_noise = deepcopy(rng)
    moments, now_ms = [], 0
    for horizon_ms in HORIZONS_MS:
        n_samples = round((horizon_ms - now_ms) / BRUNEL_NETWORK.sample_ms)
        full.advance(n_samples, rng)
        drawn.advance(n_samples, same_noise)
        now_ms = horizon_ms
        futures, drawn_futures = (_futures(state, n_branches) for state in (full, drawn))
        within = futures.var(axis=1, ddof=1)
        # The means also differ by chance, because branches are few. That share is subtracted.
        difference = drawn_futures - futures
        hidden = np.square(difference.mean(axis=1)) - difference.var(axis=1, ddof=1) / n_branches
        mean, mean_square = futures.mean(axis=(1, 2)), np.square(futures).mean(axis=(1, 2))
        moments.append((within.mean(axis=1), hidden.mean(axis=1), mean, mean_square))
    return np.stack(moments, axis=1)


def _futures(state: NetworkState, n_branches: int) -> Float64[np.ndarray, "batch branch neuron"]:
    n_neurons = state.voltage_mv.shape[2]
    return (state.voltage_mv - BRUNEL_NETWORK.rest_mv).reshape(-1, n_branches, n_neurons).astype(np.float64)


_ByHorizon = Float64[np.ndarray, " horizon"]


def _jackknife(
    statistic: Callable[[_ByHorizon, _ByHorizon, _ByHorizon], _ByHorizon],
    moments: Float64[np.ndarray, "4 horizon batch"],
) -> Ceiling:
    def from_average(averaged: Float64[np.ndarray, "4 horizon"]) -> _ByHorizon:
        within, hidden, mean, mean_square = averaged
        return statistic(within, hidden, mean_square - mean**2)

    n = moments.shape[2]
    left_out = np.stack([from_average(np.delete(moments, batch, axis=2).mean(axis=2)) for batch in range(n)])
    standard_error = np.sqrt((n - 1) * left_out.var(axis=0))
    return Ceiling(
        r2=dict(zip(HORIZONS_MS, from_average(moments.mean(axis=2)).tolist(), strict=True)),
        standard_error=dict(zip(HORIZONS_MS, standard_error.tolist(), strict=True)),
    )


_IRREDUCIBLE_SETTLING_SAMPLES = 500
_IRREDUCIBLE_SAMPLES_APART = 20


def measure_irreducible_error_mv2(
    weights_mv: Float32[np.ndarray, "network source target"],
    *,
    n_copies: int,
    n_states: int,
    n_branches: int,
    seed: int,
) -> Float64[np.ndarray, "horizon bin"]:
    """Measure the mean squared error of the best forecast in mV squared, by horizon and bin of the present voltage.

    `n_states` states of `n_copies` copies of each network are branched into `n_branches` futures. A bin without any
    neuron gets NaN.
    """
    rng = np.random.default_rng(seed)
    state = NetworkState.start(weights_mv, n_copies, rng)
    state.advance(_IRREDUCIBLE_SETTLING_SAMPLES, rng)
    n_bins = len(EDGES_MV) + 1
    sums, counts = np.zeros((len(HORIZONS_MS), n_bins)), np.zeros(n_bins)
    for _ in range(n_states):
        state.advance(_IRREDUCIBLE_SAMPLES_APART, rng)
        bins = np.digitize(state.voltage_mv, EDGES_MV).ravel()
        counts += np.bincount(bins, minlength=n_bins)
        branched, now_ms = state.branch(n_branches), 0
        for row, horizon_ms in enumerate(HORIZONS_MS):
            branched.advance(round((horizon_ms - now_ms) / BRUNEL_NETWORK.sample_ms), rng)
            now_ms = horizon_ms
            futures_mv = branched.voltage_mv.reshape(-1, n_branches, BRUNEL_NETWORK.n_neurons).astype(np.float64)
            sums[row] += np.bincount(bins, weights=futures_mv.var(axis=1, ddof=1).ravel(), minlength=n_bins)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)
