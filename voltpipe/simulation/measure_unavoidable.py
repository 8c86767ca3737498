"""Measures how large the squared error of the best forecast is, by the voltage that is forecast from.

As `measure_ceiling` does, by branching: given the whole state, the best forecast errs by the variance of the futures.
Here that variance is averaged over moments at which a neuron's voltage is alike, not over all.
"""

import numpy as np
from jaxtyping import Float32, Float64

from voltpipe.simulation.ceiling import HORIZONS_MS
from voltpipe.simulation.process import PROCESS
from voltpipe.simulation.stepper import NetworkState
from voltpipe.simulation.unavoidable import EDGES_MV

_SETTLING_SAMPLES = 500
_SAMPLES_APART = 20


def measure_unavoidable_mv2(
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
    state.advance(_SETTLING_SAMPLES, rng)
    n_bins = len(EDGES_MV) + 1
    sums, counts = np.zeros((len(HORIZONS_MS), n_bins)), np.zeros(n_bins)
    for _ in range(n_states):
        state.advance(_SAMPLES_APART, rng)
        bins = np.digitize(state.voltage_mv, EDGES_MV).ravel()
        counts += np.bincount(bins, minlength=n_bins)
        branched, now_ms = state.branched(n_branches), 0
        for row, horizon_ms in enumerate(HORIZONS_MS):
            branched.advance(round((horizon_ms - now_ms) / PROCESS.sample_ms), rng)
            now_ms = horizon_ms
            futures_mv = branched.voltage_mv.reshape(-1, n_branches, PROCESS.n_neurons).astype(np.float64)
            sums[row] += np.bincount(bins, weights=futures_mv.var(axis=1, ddof=1).ravel(), minlength=n_bins)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)
