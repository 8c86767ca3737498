"""Statistics of a recording that is read in chunks: mean, standard deviation and clipped samples."""

import numpy as np
from jaxtyping import Bool, Float32, Float64


class RunningMoments:
    """Mean and standard deviation of each channel, accumulated over chunks in float64.

    Chunks are merged as in Chan, Golub and LeVeque (The American Statistician 37, 1983, equation 2.1).
    """

    def __init__(self, n_channels: int) -> None:
        self.n = np.zeros(n_channels)
        self.mean = np.zeros(n_channels)
        self._squares = np.zeros(n_channels)

    def add(self, chunk: Float32[np.ndarray, "time channel"], finite: Bool[np.ndarray, "time channel"]) -> None:
        """Add the next samples, except those that are not finite."""
        all_finite = bool(finite.all())
        n = np.full(finite.shape[1], float(len(finite))) if all_finite else finite.sum(axis=0).astype(np.float64)
        values = (chunk if all_finite else np.where(finite, chunk, np.float32(0))).astype(np.float64)
        mean = values.sum(axis=0) / np.maximum(n, 1)
        values -= mean
        squares = values if all_finite else np.where(finite, values, 0.0)
        self._merge(n, mean, np.einsum("tc,tc->c", squares, squares))

    def merge(self, other: "RunningMoments") -> None:
        """Add all samples of another accumulator."""
        self._merge(other.n, other.mean, other._squares)

    def _merge(
        self,
        n: Float64[np.ndarray, " channel"],
        mean: Float64[np.ndarray, " channel"],
        squares: Float64[np.ndarray, " channel"],
    ) -> None:
        total = np.maximum(self.n + n, 1)
        difference = mean - self.mean
        self._squares += squares + difference**2 * self.n * n / total
        self.mean += difference * n / total
        self.n += n

    def sd(self) -> Float64[np.ndarray, " channel"]:
        """Return the population standard deviation of all samples so far (divided by n, not by n - 1)."""
        return np.asarray(np.sqrt(self._squares / np.maximum(self.n, 1)))


_CLIPPED_RUN = 5
"""Consecutive samples at a channel's extreme that count as clipped. Neurons stay at reset for only two or three."""


class ClippedRuns:
    """Number of samples in long runs at a channel's highest value so far. A higher value restarts the count."""

    def __init__(self, n_channels: int) -> None:
        self.count = np.zeros(n_channels, np.int64)
        self._highest = np.full(n_channels, -np.inf, np.float32)
        self._run = np.zeros(n_channels, np.int32)
        """Length of the run at the end of the last chunk."""

    def add(self, values: Float32[np.ndarray, "time channel"], highest: Float32[np.ndarray, " channel"]) -> None:
        """Add the next samples, with the highest value of each channel among them."""
        higher = highest > self._highest
        self._highest = np.maximum(self._highest, highest)
        self.count[higher] = 0
        # A channel that stays below its extreme in this chunk has no run. This is the usual case.
        self._run[higher | (highest < self._highest)] = 0
        at_extreme = np.flatnonzero(highest == self._highest)
        if at_extreme.size:
            self._count(at_extreme, values[:, at_extreme])

    def _count(self, channels: np.ndarray, values: Float32[np.ndarray, "time channel"]) -> None:
        at_highest = values == self._highest[channels]
        position = np.arange(1, len(values) + 1, dtype=np.int32)[:, None]
        last_other = np.maximum.accumulate(np.where(at_highest, np.int32(0), position), axis=0)
        before = np.where(last_other == 0, self._run[channels], np.int32(0))
        run = np.where(at_highest, position - last_other + before, np.int32(0))
        self.count[channels] += _CLIPPED_RUN * (run == _CLIPPED_RUN).sum(axis=0) + (run > _CLIPPED_RUN).sum(axis=0)
        self._run[channels] = run[-1]
