"""Transition probabilities of a neuron from one sample to the next, computed without simulation."""

from functools import cache

import numpy as np
from jaxtyping import Float32, Int64
from scipy.special import ndtr
from scipy.stats import binom

from ceilings.stepper import EXTERNAL_PROBABILITY, STEPS_PER_SAMPLE
from voltpipe.simulation.network import BRUNEL_NETWORK

KEPT_PER_STEP = 1 - BRUNEL_NETWORK.step_ms / BRUNEL_NETWORK.tau_ms
"""Share of a deviation from rest that is left after one step."""

_NOISE_SD_MV = BRUNEL_NETWORK.noise_sd_mv * BRUNEL_NETWORK.step_ms / BRUNEL_NETWORK.noise_tau_ms
_GAIN_STEP_MV, _LOWEST_GAIN_MV, _N_GAINS = 0.005, -4.0, 4096
_FLOOR = 1e-9
"""Lowest probability in the tables. Nothing is impossible, because tables are finite and rounded."""

_BIN_MV = 0.05
_EDGES_MV = _BIN_MV * np.arange(-120, 21)
"""Edges of the bins of the voltage relative to threshold.

Below them hardly any neuron reaches threshold within a sample, and above them all do.
"""


def log_density_of_gain(
    gain_mv: Float32[np.ndarray, "*shape"], n_steps: Int64[np.ndarray, "*shape"]
) -> Float32[np.ndarray, "*shape"]:
    """Return the log density (1/mV) of the gain by noise and external input in `n_steps` steps, ignoring threshold."""
    nearest = np.rint((gain_mv - _LOWEST_GAIN_MV) / _GAIN_STEP_MV).astype(np.int64)
    log_density: Float32[np.ndarray, "*shape"] = _gain_table()[n_steps, np.clip(nearest, 0, _N_GAINS - 1)]
    return log_density


@cache
def _gain_table() -> Float32[np.ndarray, "n_steps gain"]:
    """Tabulate the log density of gains: the Fourier transform of a product of characteristic functions over steps."""
    omega = 2 * np.pi * np.fft.fftfreq(_N_GAINS, _GAIN_STEP_MV)
    log_density = np.full((STEPS_PER_SAMPLE + 1, _N_GAINS), np.log(_FLOOR), np.float32)
    characteristic = np.ones(_N_GAINS, complex)
    for n_steps in range(1, STEPS_PER_SAMPLE + 1):
        kept = KEPT_PER_STEP ** (n_steps - 1)
        external = 1 + EXTERNAL_PROBABILITY * (np.exp(1j * omega * BRUNEL_NETWORK.external_mv * kept) - 1)
        noise = np.exp(-((omega * _NOISE_SD_MV * kept) ** 2) / 2)
        characteristic *= external**BRUNEL_NETWORK.external_inputs * noise
        shifted = characteristic * np.exp(-1j * omega * _LOWEST_GAIN_MV)
        density = np.fft.fft(shifted).real / (_N_GAINS * _GAIN_STEP_MV)
        log_density[n_steps] = np.log(np.maximum(density, _FLOOR))
    return log_density


def spike_step_odds(
    before_mv: Float32[np.ndarray, " case"], arriving_mv: Float32[np.ndarray, "case step"]
) -> Float32[np.ndarray, "case step"]:
    """Return the probability that a neuron first spikes in each of the 0.1 ms steps until the next sample.

    Args:
        before_mv: the voltage at the previous sample.
        arriving_mv: the input from spikes of other neurons at the end of each step.
    """
    # Most cases are duplicates: the same neuron without input.
    distinct, of_case = np.unique(np.column_stack([before_mv, arriving_mv]), axis=0, return_inverse=True)
    return _distinct_odds(distinct[:, 0], distinct[:, 1:])[of_case]


def _distinct_odds(
    before_mv: Float32[np.ndarray, " case"], arriving_mv: Float32[np.ndarray, "case step"]
) -> Float32[np.ndarray, "case step"]:
    crosses, moves = _one_step()
    case = np.arange(len(before_mv))
    occupied = np.zeros((len(case), len(crosses)), np.float32)
    occupied[case, _bin_of(before_mv)] = 1
    odds = np.empty((len(case), STEPS_PER_SAMPLE), np.float32)
    for step in range(STEPS_PER_SAMPLE):
        odds[:, step] = occupied @ crosses
        occupied = occupied @ moves
        shifted = arriving_mv[:, step] != 0
        occupied[shifted] = _shift_probability(occupied[shifted], arriving_mv[shifted, step])
    return np.maximum(odds, np.float32(_FLOOR))


def _bin_of(voltage_mv: Float32[np.ndarray, " case"]) -> Int64[np.ndarray, " case"]:
    bins = np.floor((voltage_mv - BRUNEL_NETWORK.threshold_mv - _EDGES_MV[0]) / _BIN_MV).astype(np.int64)
    clipped: Int64[np.ndarray, " case"] = np.clip(bins, 0, len(_EDGES_MV) - 2)
    return clipped


@cache
def _one_step() -> tuple[Float32[np.ndarray, " bin"], Float32[np.ndarray, "bin bin"]]:
    """Return the probability of a spike in one step from each bin, and of ending in each bin without a spike."""
    center_mv = (_EDGES_MV[1:] + _EDGES_MV[:-1]) / 2
    mean_mv = KEPT_PER_STEP * center_mv + (1 - KEPT_PER_STEP) * (BRUNEL_NETWORK.rest_mv - BRUNEL_NETWORK.threshold_mv)
    reached = ndtr((_EDGES_MV - mean_mv[:, None]) / _NOISE_SD_MV)
    reached[:, 0] = 0
    no_spike = np.where(center_mv < 0, np.diff(reached, axis=1), 0)
    external = np.zeros_like(no_spike)
    bins = np.arange(len(center_mv))
    for n_inputs in range(BRUNEL_NETWORK.external_inputs + 1):
        odds = binom.pmf(n_inputs, BRUNEL_NETWORK.external_inputs, EXTERNAL_PROBABILITY)
        np.add.at(external, (bins, _shift_bins(bins, n_inputs * BRUNEL_NETWORK.external_mv)), odds)
    return (1 - no_spike.sum(axis=1)).astype(np.float32), (no_spike @ external).astype(np.float32)


def _shift_probability(
    occupied: Float32[np.ndarray, "case bin"], by_mv: Float32[np.ndarray, " case"]
) -> Float32[np.ndarray, "case bin"]:
    case, bins = np.indices(occupied.shape)
    shifted = np.zeros_like(occupied)
    np.add.at(shifted, (case, _shift_bins(bins, by_mv[:, None])), occupied)
    return shifted


def _shift_bins(bins: Int64[np.ndarray, "..."], by_mv: Float32[np.ndarray, "..."] | float) -> Int64[np.ndarray, "..."]:
    return np.clip(bins + np.rint(by_mv / _BIN_MV).astype(np.int64), 0, len(_EDGES_MV) - 2)
