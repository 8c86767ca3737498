"""Leakage between splits, counted on the index itself."""

import numpy as np
from jaxtyping import Bool

from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet


def rows_in_windows(window_set: WindowSet, split: Split) -> Bool[np.ndarray, " row"]:
    """Mark the rows of the window set that lie in windows of a split."""
    begins = np.zeros(len(window_set.samples_z) + 1, np.int32)
    starts = window_set.index["start_row"][window_set.windows(split)]
    np.add.at(begins, starts, 1)
    np.add.at(begins, starts + window_set.settings.window_samples, -1)
    return np.asarray(np.cumsum(begins[:-1]) > 0)


def count_shared_samples(window_set: WindowSet) -> int:
    """Count the samples that windows of two splits share. It is 0 unless the protocol is `published`."""
    owner = np.full(len(window_set.samples_z), -1, np.int8)
    shared = np.zeros(len(owner), bool)
    for split in Split:
        touched = rows_in_windows(window_set, split)
        shared |= touched & (owner >= 0)
        owner[touched] = split.code
    return int(shared.sum())


def count_windows_over_borders(window_set: WindowSet) -> int:
    """Count the windows that extend beyond the span, and so the recording or segment, in which they begin."""
    starts = window_set.index["start_row"]
    spans = np.array([(start, stop) for _, start, stop, _ in window_set.manifest.spans])
    spans = spans[np.argsort(spans[:, 0])]
    inside = np.searchsorted(spans[:, 0], starts, side="right") - 1
    return int(np.sum((inside < 0) | (starts + window_set.settings.window_samples > spans[inside, 1])))
