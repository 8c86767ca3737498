"""Counts samples that are held at a channel's extreme."""

import numpy as np
from jaxtyping import Float32

_CLIPPED_RUN = 5
"""Samples in a row at a channel's extreme that count as clipped: neurons stand at reset for two or three."""


class Clipped:
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
