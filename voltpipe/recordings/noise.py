"""How loud a channel is, by a measure that spikes and artefacts hardly move."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

MOST_SAMPLES = 4096
"""Samples a channel that noise is measured on, evenly spread."""
_SD_PER_MAD = 1.4826
"""Of a normal distribution."""


class NoiseSamples:
    """Every so many samples of a range, picked as chunks pass in order, so that memory is bounded."""

    def __init__(self, start_sample: int, stop_sample: int) -> None:
        self._next = start_sample
        self._stop = stop_sample
        self._stride = max(1, -(-(stop_sample - start_sample) // MOST_SAMPLES))
        self._picked: list[np.ndarray] = []

    def add(self, start_sample: int, samples_mv: Float32[np.ndarray, "time channel"]) -> None:
        """Take the next samples, the first of which is `start_sample`."""
        picked = samples_mv[self._next - start_sample : self._stop - start_sample : self._stride]
        if self._next - start_sample < len(samples_mv):
            self._picked.append(picked.copy())
            self._next += len(picked) * self._stride

    def samples_mv(self) -> Float32[np.ndarray, "time channel"]:
        """What was picked."""
        return np.concatenate(self._picked)


def noise_mv(samples_mv: Float32[np.ndarray, "time channel"]) -> Float64[np.ndarray, " channel"]:
    """The median absolute deviation of each channel, times 1.4826: the SD, if it were all normal noise."""
    away = np.abs(samples_mv - np.median(samples_mv, axis=0))
    return np.asarray(_SD_PER_MAD * np.median(away, axis=0), dtype=np.float64)


def is_outlier(noise: Float[np.ndarray, " channel"], ratio: float) -> Bool[np.ndarray, " channel"]:
    """Which channels are louder than the median one by more than `ratio`, or quieter: dead channels are quiet."""
    typical = np.median(noise)
    return np.asarray((noise > ratio * typical) | (noise * ratio < typical))
