"""Mean and standard deviation of a recording that is seen a chunk at a time."""

import numpy as np
from jaxtyping import Bool, Float32, Float64


class RunningMoments:
    """Mean and sum of squares about it a channel, merged chunk by chunk in float64.

    The merging is Chan, Golub and LeVeque's (The American Statistician 37, 1983, equation 2.1).
    """

    def __init__(self, n_channels: int) -> None:
        self.n = np.zeros(n_channels)
        self.mean = np.zeros(n_channels)
        self._squares = np.zeros(n_channels)

    def add(self, chunk: Float32[np.ndarray, "time channel"], finite: Bool[np.ndarray, "time channel"]) -> None:
        """Take the next samples; those that are not finite are left out."""
        all_finite = bool(finite.all())
        n = np.full(finite.shape[1], float(len(finite))) if all_finite else finite.sum(axis=0).astype(np.float64)
        values = (chunk if all_finite else np.where(finite, chunk, np.float32(0))).astype(np.float64)
        mean = values.sum(axis=0) / np.maximum(n, 1)
        values -= mean
        squares = values if all_finite else np.where(finite, values, 0.0)
        self._merge(n, mean, np.einsum("tc,tc->c", squares, squares))

    def merge(self, other: "RunningMoments") -> None:
        """Take all that another has taken."""
        self._merge(other.n, other.mean, other._squares)

    def _merge(
        self,
        n: Float64[np.ndarray, " channel"],
        mean: Float64[np.ndarray, " channel"],
        squares: Float64[np.ndarray, " channel"],
    ) -> None:
        total = np.maximum(self.n + n, 1)
        away = mean - self.mean
        self._squares += squares + away**2 * self.n * n / total
        self.mean += away * n / total
        self.n += n

    def sd(self) -> Float64[np.ndarray, " channel"]:
        """The standard deviation of all samples so far (divided by their number, not one less)."""
        return np.asarray(np.sqrt(self._squares / np.maximum(self.n, 1)))


_CLIPPED_RUN = 5
"""Samples in a row at a channel's extreme that count as clipped: neurons stand at reset for two or three."""


class ClippedRuns:
    """Counts samples in long runs at the highest value so far; a higher value starts the count anew."""

    def __init__(self, n_channels: int) -> None:
        self.count = np.zeros(n_channels, np.int64)
        self._highest = np.full(n_channels, -np.inf, np.float32)
        self._run = np.zeros(n_channels, np.int32)
        """Length of the run that the last chunk ended with."""

    def add(self, values: Float32[np.ndarray, "time channel"], highest: Float32[np.ndarray, " channel"]) -> None:
        """Take the next samples, and the highest of each channel among them."""
        higher = highest > self._highest
        self._highest = np.maximum(self._highest, highest)
        self.count[higher] = 0
        # A channel that stays below its extreme throughout has no run, and most channels do.
        self._run[higher | (highest < self._highest)] = 0
        at_extreme = np.flatnonzero(highest == self._highest)
        if at_extreme.size:
            self._count(at_extreme, values[:, at_extreme])

    def _count(self, channels: np.ndarray, values: Float32[np.ndarray, "time channel"]) -> None:
        held = values == self._highest[channels]
        position = np.arange(1, len(values) + 1, dtype=np.int32)[:, None]
        last_other = np.maximum.accumulate(np.where(held, np.int32(0), position), axis=0)
        before = np.where(last_other == 0, self._run[channels], np.int32(0))
        run = np.where(held, position - last_other + before, np.int32(0))
        self.count[channels] += _CLIPPED_RUN * (run == _CLIPPED_RUN).sum(axis=0) + (run > _CLIPPED_RUN).sum(axis=0)
        self._run[channels] = run[-1]
