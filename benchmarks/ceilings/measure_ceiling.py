"""Measures both predictability ceilings by branching: the same state, many futures.

With the whole state known, the best forecast is the mean of its futures, and the error that remains is their
variance. So R2 = 1 - E[variance within a state's futures] / (variance of all futures), by the law of total variance.

With only samples known, the best forecast is the mean over the states they allow as well. It knows no more than the
whole state does, so its squared error is larger by exactly E[(its forecast - the forecast from the whole state)^2].
This holds for any forecast from samples. `sample_hidden_states` weighs the states only approximately, which
can only make the forecast worse: the observable ceiling comes out too low, if at all, and never above what is possible.
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
"""From one branching to the next: most of the state is forgotten, see the ceiling at 20 ms."""
_SAMPLES_SHOWN = 6
"""From which the hidden part of the state is drawn. More did not make the draws better."""


@dataclass(frozen=True)
class Ceilings:
    """What is possible at best, and what samples hide of it."""

    full_state: Ceiling
    observable: Ceiling
    hidden: Ceiling
    """The difference of the two. Both share their noise, so its standard error is far smaller."""


def measure_ceilings(
    weights_mv: Float32[np.ndarray, "network source target"],
    *,
    n_copies: int,
    n_states: int,
    n_branches: int,
    n_particles: int,
    seed: int,
) -> Ceilings:
    """Branch `n_states` states of `n_copies` copies of each network into `n_branches` futures, twice.

    Once each branch starts from the whole state; once from a state drawn from `n_particles` that the samples so far
    allow, with the same noise to come. The standard error is the jackknife's over networks and copies; at least two
    of them in all.
    """
    rng = np.random.default_rng(seed)
    (drawing_rng,) = rng.spawn(1)
    state = NetworkState.start(weights_mv, n_copies, rng)
    state.advance(_SETTLING_SAMPLES, rng)
    moments = np.zeros((4, len(HORIZONS_MS), len(weights_mv) * n_copies))
    for _ in range(n_states):
        state.advance(_SAMPLES_APART - _SAMPLES_SHOWN, rng)
        samples_mv = np.stack([_next_sample(state, rng) for _ in range(_SAMPLES_SHOWN)])
        drawn = sample_hidden_states(
            weights_mv, samples_mv, n_draws=n_branches, n_particles=n_particles, rng=drawing_rng
        )
        moments += _moments(state.branched(n_branches), drawn, n_branches, rng)
    moments /= n_states
    return Ceilings(
        full_state=_jackknifed(lambda within, missed, variance: 1 - within / variance, moments),
        observable=_jackknifed(lambda within, missed, variance: 1 - (within + missed) / variance, moments),
        hidden=_jackknifed(lambda within, missed, variance: missed / variance, moments),
    )


def _next_sample(state: NetworkState, rng: np.random.Generator) -> Float32[np.ndarray, "network copy neuron"]:
    state.advance(1, rng)
    return state.voltage_mv


def _moments(
    full: NetworkState, drawn: NetworkState, n_branches: int, rng: np.random.Generator
) -> Float64[np.ndarray, "4 horizon batch"]:
    """Of each network's each copy, in mV from rest, by horizon.

    The variance within the futures of the whole state, the squared difference of the mean futures of drawn states
    from it, and the mean and the mean square of all futures of the whole state.
    """
    same_noise = deepcopy(rng)
    moments, now_ms = [], 0
    for horizon_ms in HORIZONS_MS:
        n_samples = round((horizon_ms - now_ms) / BRUNEL_NETWORK.sample_ms)
        full.advance(n_samples, rng)
        drawn.advance(n_samples, same_noise)
        now_ms = horizon_ms
        futures, other = (_futures(state, n_branches) for state in (full, drawn))
        within = futures.var(axis=1, ddof=1)
        # Branches are finite in number, so their means differ by chance as well; that share is taken off.
        missed = np.square((other - futures).mean(axis=1)) - (other - futures).var(axis=1, ddof=1) / n_branches
        mean, mean_square = futures.mean(axis=(1, 2)), np.square(futures).mean(axis=(1, 2))
        moments.append((within.mean(axis=1), missed.mean(axis=1), mean, mean_square))
    return np.stack(moments, axis=1)


def _futures(state: NetworkState, n_branches: int) -> Float64[np.ndarray, "batch branch neuron"]:
    n_neurons = state.voltage_mv.shape[2]
    return (state.voltage_mv - BRUNEL_NETWORK.rest_mv).reshape(-1, n_branches, n_neurons).astype(np.float64)


_ByHorizon = Float64[np.ndarray, " horizon"]


def _jackknifed(
    figure: Callable[[_ByHorizon, _ByHorizon, _ByHorizon], _ByHorizon], moments: Float64[np.ndarray, "4 horizon batch"]
) -> Ceiling:
    def of(averaged: Float64[np.ndarray, "4 horizon"]) -> _ByHorizon:
        within, missed, mean, mean_square = averaged
        return figure(within, missed, mean_square - mean**2)

    n = moments.shape[2]
    left_out = np.stack([of(np.delete(moments, batch, axis=2).mean(axis=2)) for batch in range(n)])
    standard_error = np.sqrt((n - 1) * left_out.var(axis=0))
    return Ceiling(
        r2=dict(zip(HORIZONS_MS, of(moments.mean(axis=2)).tolist(), strict=True)),
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
    """Mean squared error in mV squared of the best forecast, by horizon and bin of the present voltage.

    Branches `n_states` states of `n_copies` copies of each network into `n_branches` futures. NaN for a bin in which
    no neuron was met.
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
        branched, now_ms = state.branched(n_branches), 0
        for row, horizon_ms in enumerate(HORIZONS_MS):
            branched.advance(round((horizon_ms - now_ms) / BRUNEL_NETWORK.sample_ms), rng)
            now_ms = horizon_ms
            futures_mv = branched.voltage_mv.reshape(-1, n_branches, BRUNEL_NETWORK.n_neurons).astype(np.float64)
            sums[row] += np.bincount(bins, weights=futures_mv.var(axis=1, ddof=1).ravel(), minlength=n_bins)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)
