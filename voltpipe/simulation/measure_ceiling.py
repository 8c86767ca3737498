"""Measures the predictability ceiling by branching: the same state, many futures.

With the whole state known, the best forecast is the mean of its futures, and the error that remains is their
variance. So R2 = 1 - E[variance within a state's futures] / (variance of all futures), by the law of total variance.
"""

import numpy as np
from jaxtyping import Float32, Float64

from voltpipe.simulation.ceiling import HORIZONS_MS, Ceiling
from voltpipe.simulation.process import PROCESS
from voltpipe.simulation.stepper import NetworkState

_SETTLING_SAMPLES = 500
_SAMPLES_APART = 50
"""From one branching to the next: most of the state is forgotten, see the ceiling at 20 ms."""


def measure_ceiling(
    weights_mv: Float32[np.ndarray, "network source target"],
    *,
    n_copies: int,
    n_states: int,
    n_branches: int,
    seed: int,
) -> Ceiling:
    """Branch `n_states` states of `n_copies` copies of each network into `n_branches` futures.

    The standard error is the jackknife's over networks and copies; at least two of them in all.
    """
    rng = np.random.default_rng(seed)
    state = NetworkState.start(weights_mv, n_copies, rng)
    state.advance(_SETTLING_SAMPLES, rng)
    moments = np.zeros((3, len(HORIZONS_MS), len(weights_mv) * n_copies))
    for _ in range(n_states):
        state.advance(_SAMPLES_APART, rng)
        moments += _moments(state.branched(n_branches), n_branches, rng)
    moments /= n_states
    r2 = _r2(moments.mean(axis=2))
    n = moments.shape[2]
    left_out = np.stack([_r2(np.delete(moments, batch, axis=2).mean(axis=2)) for batch in range(n)])
    standard_error = np.sqrt((n - 1) * left_out.var(axis=0))
    return Ceiling(
        r2=dict(zip(HORIZONS_MS, r2.tolist(), strict=True)),
        standard_error=dict(zip(HORIZONS_MS, standard_error.tolist(), strict=True)),
    )


def _moments(state: NetworkState, n_branches: int, rng: np.random.Generator) -> Float64[np.ndarray, "3 horizon batch"]:
    """Variance within branches, mean, and mean square of the voltage from rest, of each network's each copy."""
    moments, now_ms = [], 0
    for horizon_ms in HORIZONS_MS:
        state.advance(round((horizon_ms - now_ms) / PROCESS.sample_ms), rng)
        now_ms = horizon_ms
        n_neurons = state.voltage_mv.shape[2]
        futures = (state.voltage_mv - PROCESS.rest_mv).reshape(-1, n_branches, n_neurons).astype(np.float64)
        within = futures.var(axis=1, ddof=1).mean(axis=1)
        moments.append((within, futures.mean(axis=(1, 2)), np.square(futures).mean(axis=(1, 2))))
    return np.stack(moments, axis=1)


def _r2(moments: Float64[np.ndarray, "3 horizon"]) -> Float64[np.ndarray, " horizon"]:
    within, mean, mean_square = moments
    r2: Float64[np.ndarray, " horizon"] = 1 - within / (mean_square - mean**2)
    return r2
