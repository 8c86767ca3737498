"""How much of a channel's variance is mains hum: a line at 50 or 60 Hz above its neighbourhood."""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

LINES_HZ = (50, 60)
_NEIGHBOURS_HZ = (-3, 3)
"""Far enough from the line that its main lobe does not reach there."""
_MOST_WINDOWS = 20


class HumMeter:
    """Spectrum about the lines, from windows of 1 s with Hann's taper, evenly spread over a recording.

    Only the frequencies that are needed are transformed, as a product of matrices, and chunks may cut windows anywhere.
    """

    def __init__(self, rate_hz: float, n_samples: int, n_channels: int) -> None:
        self._length = round(rate_hz)
        n_windows = n_samples // self._length
        self._stride = self._length * max(1, -(-n_windows // _MOST_WINDOWS))
        self._lines = [line for line in LINES_HZ if line + max(_NEIGHBOURS_HZ) < rate_hz / 2]
        frequencies = [line + away for line in self._lines for away in (0, *_NEIGHBOURS_HZ)]
        time = np.arange(self._length) / self._length
        taper = 1 - np.cos(2 * np.pi * time)
        angles = 2 * np.pi * np.outer(frequencies, time)
        self._waves = np.concatenate([taper * np.cos(angles), taper * np.sin(angles)]).astype(np.float32)
        self._amplitudes = np.zeros((len(self._waves), n_channels))
        self._power = np.zeros((len(frequencies), n_channels))
        self._windows = 0

    def add(self, start_sample: int, samples_mv: Float32[np.ndarray, "time channel"]) -> None:
        """Take the next samples, the first of which is `start_sample`."""
        stop_sample = start_sample + len(samples_mv)
        for window_start in range(start_sample // self._stride * self._stride, stop_sample, self._stride):
            first = max(window_start, start_sample)
            last = min(window_start + self._length, stop_sample)
            if first >= last:
                continue
            waves = self._waves[:, first - window_start : last - window_start]
            # BLAS would do this with threads that get in the way of the one that writes.
            self._amplitudes += np.einsum("wt,tc->wc", waves, samples_mv[first - start_sample : last - start_sample])
            if last == window_start + self._length:
                cosines, sines = np.split(self._amplitudes, 2)
                self._power += cosines**2 + sines**2
                self._windows += 1
                self._amplitudes[:] = 0

    def variance_mv2(self) -> Float[np.ndarray, "line channel"]:
        """The variance of each line above its neighbourhood; none where no window was whole or the rate is too low."""
        if not (self._windows and self._lines):
            return np.zeros((len(LINES_HZ), self._amplitudes.shape[1]))
        by_line = self._power.reshape(len(self._lines), -1, self._amplitudes.shape[1])
        excess = np.maximum(by_line[:, 0] - by_line[:, 1:].mean(axis=1), 0)
        # The taper's mean is 1, so a sine of amplitude a gives a power of (a * length / 2) ** 2.
        variance = excess / self._windows * 2 / self._length**2
        absent = np.zeros((len(LINES_HZ) - len(self._lines), variance.shape[1]))
        return np.concatenate([variance, absent])


MOST_SAMPLES = 4096
"""Samples a channel that noise is measured on, evenly spread."""
_SD_PER_MAD = 1.4826
"""Of a normal distribution."""


class NoiseSample:
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


def noise_level_mv(samples_mv: Float32[np.ndarray, "time channel"]) -> Float64[np.ndarray, " channel"]:
    """The median absolute deviation of each channel, times 1.4826: the SD, if it were all normal noise."""
    away = np.abs(samples_mv - np.median(samples_mv, axis=0))
    return np.asarray(_SD_PER_MAD * np.median(away, axis=0), dtype=np.float64)


def is_outlier(noise: Float[np.ndarray, " channel"], ratio: float) -> Bool[np.ndarray, " channel"]:
    """Which channels are louder than the median one by more than `ratio`, or quieter: dead channels are quiet."""
    typical = np.median(noise)
    return np.asarray((noise > ratio * typical) | (noise * ratio < typical))
