"""Cuts each network's training rows into folds, so that no window is learned from with a coupling that it gave."""

from itertools import accumulate, pairwise

import numpy as np
from jaxtyping import Int64

from voltpipe.windows.window_set import WindowSet

N_FOLDS = 5

Rows = tuple[int, int, int]
"""A half-open stretch of rows: (recording, start_row, stop_row)."""


class Folds:
    """The training rows of every network (organoid), each cut into folds of equally many consecutive rows.

    Args:
        window_set: whose training rows are cut.

    Attributes:
        rows: the pieces by (network, fold); networks are numbered as in `window_set.training_organoids()`.
    """

    def __init__(self, window_set: WindowSet) -> None:
        self.rows: dict[tuple[int, int], list[Rows]] = {}
        for network, organoid in enumerate(window_set.training_organoids()):
            spans = [rows for rows in window_set.train_rows() if window_set.recordings[rows[0]].organoid == organoid]
            for fold, pieces in enumerate(_cut(spans, N_FOLDS)):
                self.rows[network, fold] = pieces
        placed = sorted((start, stop, *place) for place, pieces in self.rows.items() for _, start, stop in pieces)
        self._starts, self._stops, self._networks, self._folds = np.array(placed, np.int64).reshape(-1, 4).T

    def of_rows(self, rows: Int64[np.ndarray, " row"]) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " row"]]:
        """The network and the fold of training rows."""
        piece = np.searchsorted(self._starts, rows, side="right") - 1
        assert np.all(rows < self._stops[piece])  # the middle of a training window always lies in one
        return self._networks[piece], self._folds[piece]


def _cut(spans: list[Rows], n_parts: int) -> list[list[Rows]]:
    """Cut consecutive spans at equal shares of all their rows."""
    ends = list(accumulate((stop - start for _, start, stop in spans), initial=0))
    borders = [round(ends[-1] * part / n_parts) for part in range(n_parts + 1)]
    parts = []
    for first, last in pairwise(borders):
        pieces = []
        for (recording, start, stop), before in zip(spans, ends[:-1], strict=True):
            begin, end = max(start, start + first - before), min(stop, start + last - before)
            if begin < end:
                pieces.append((recording, begin, end))
        parts.append(pieces)
    return parts
