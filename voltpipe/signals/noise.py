"""Mains hum at 50 and 60 Hz, and the noise level of channels."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

LINES_HZ = (50, 60)
_NEIGHBORS_HZ = (-3, 3)
"""Offsets of the reference frequencies; far enough to lie outside the main lobe of the line."""
_MOST_WINDOWS = 20


class HumMeter:
    """Variance of each channel that is mains hum: the power of a line above that of its neighboring frequencies.

    The spectrum is estimated from Hann windows of 1 s, evenly spaced over a recording. Only the needed frequencies are
    computed, by matrix products. Chunk boundaries may fall anywhere within a window.
    """

    def __init__(self, rate_hz: float, n_samples: int, n_channels: int) -> None:
        self._length = round(rate_hz)
        n_windows = n_samples // self._length
        self._stride = self._length * max(1, -(-n_windows // _MOST_WINDOWS))
        self._lines = [line for line in LINES_HZ if line + max(_NEIGHBORS_HZ) < rate_hz / 2]
        frequencies = [line + offset for line in self._lines for offset in (0, *_NEIGHBORS_HZ)]
        time = np.arange(self._length) / self._length
        taper = 1 - np.cos(2 * np.pi * time)
        angles = 2 * np.pi * np.outer(frequencies, time)
        self._waves = np.concatenate([taper * np.cos(angles), taper * np.sin(angles)]).astype(np.float32)
        self._amplitudes = np.zeros((len(self._waves), n_channels))
        self._power = np.zeros((len(frequencies), n_channels))
        self._windows = 0

    def add(self, start_sample: int, samples_mv: Float32[np.ndarray, "time channel"]) -> None:
        """Add the next samples, beginning with number `start_sample` of the recording."""
        stop_sample = start_sample + len(samples_mv)
        for window_start in range(start_sample // self._stride * self._stride, stop_sample, self._stride):
            first = max(window_start, start_sample)
            last = min(window_start + self._length, stop_sample)
            if first >= last:
                continue
            waves = self._waves[:, first - window_start : last - window_start]
            # BLAS would use threads that compete with the thread that writes.
            self._amplitudes += np.einsum("wt,tc->wc", waves, samples_mv[first - start_sample : last - start_sample])
            if last == window_start + self._length:
                cosines, sines = np.split(self._amplitudes, 2)
                self._power += cosines**2 + sines**2
                self._windows += 1
                self._amplitudes[:] = 0

    def variance_mv2(self) -> Float[np.ndarray, "line channel"]:
        """Return the variance of each line above its neighbors. It is 0 without a whole window or at too low a rate."""
        if not (self._windows and self._lines):
            return np.zeros((len(LINES_HZ), self._amplitudes.shape[1]))
        by_line = self._power.reshape(len(self._lines), -1, self._amplitudes.shape[1])
        excess = np.maximum(by_line[:, 0] - by_line[:, 1:].mean(axis=1), 0)
        # The taper's mean is 1, so a sine of amplitude a gives a power of (a * length / 2) ** 2.
        variance = excess / self._windows * 2 / self._length**2
        absent = np.zeros((len(LINES_HZ) - len(self._lines), variance.shape[1]))
        return np.concatenate([variance, absent])


MOST_SAMPLES = 4096
"""Maximum number of samples per channel for the noise level, evenly spaced."""
_SD_PER_MAD = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""


class NoiseSample:
    """Evenly spaced samples of a range, taken from chunks in order. Memory is bounded."""

    def __init__(self, start_sample: int, stop_sample: int) -> None:
        self._next = start_sample
        self._stop = stop_sample
        self._stride = max(1, -(-(stop_sample - start_sample) // MOST_SAMPLES))
        self._selected: list[np.ndarray] = []

    def add(self, start_sample: int, samples_mv: Float32[np.ndarray, "time channel"]) -> None:
        """Add the next samples, beginning with number `start_sample` of the recording."""
        selected = samples_mv[self._next - start_sample : self._stop - start_sample : self._stride]
        if self._next - start_sample < len(samples_mv):
            self._selected.append(selected.copy())
            self._next += len(selected) * self._stride

    def samples_mv(self) -> Float32[np.ndarray, "time channel"]:
        """Return the selected samples."""
        return np.concatenate(self._selected)


def robust_sd(values: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any_but_first"]:
    """Return 1.4826 times the median absolute deviation along the first axis: the standard deviation of normal values.

    Outliers hardly change it.
    """
    return np.asarray(_SD_PER_MAD * np.median(np.abs(values - np.median(values, axis=0)), axis=0))


def noise_level_mv(samples_mv: Float32[np.ndarray, "time channel"]) -> Float64[np.ndarray, " channel"]:
    """Return the noise level of each channel in mV, as its robust standard deviation."""
    return robust_sd(samples_mv).astype(np.float64)


def is_outlier(noise: Float[np.ndarray, " channel"], ratio: float) -> Bool[np.ndarray, " channel"]:
    """Return whether each channel's noise is more than `ratio` times above or below the median channel's.

    Dead channels are quiet.
    """
    typical = np.median(noise)
    return np.asarray((noise > ratio * typical) | (noise * ratio < typical))
