"""How much of a channel's variance is mains hum: a line at 50 or 60 Hz above its neighbourhood."""

import numpy as np
from jaxtyping import Float, Float32

LINES_HZ = (50, 60)
_NEIGHBOURS_HZ = (-3, 3)
"""Far enough from the line that its main lobe does not reach there."""
_MOST_WINDOWS = 20


class Hum:
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
