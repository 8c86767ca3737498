"""Whether anything leaks from one split into another: counted on the index itself, whatever made it."""

import numpy as np

from voltpipe.windows.split import Split
from voltpipe.windows.window_set import WindowSet


def shared_samples(window_set: WindowSet) -> int:
    """How many samples the windows of two different splits have in common; 0 unless the protocol is `published`."""
    owner = np.full(len(window_set.samples_z), -1, np.int8)
    shared = np.zeros(len(owner), bool)
    length = window_set.settings.window_samples
    for split in Split:
        covered = np.zeros(len(owner) + 1, np.int32)
        starts = window_set.index["start_row"][window_set.windows(split)]
        np.add.at(covered, starts, 1)
        np.add.at(covered, starts + length, -1)
        touched = np.cumsum(covered[:-1]) > 0
        shared |= touched & (owner >= 0)
        owner[touched] = split.code
    return int(shared.sum())


def windows_over_a_border(window_set: WindowSet) -> int:
    """How many windows reach beyond the span (hence the recording, the stretch between gaps) they begin in."""
    starts = window_set.index["start_row"]
    spans = np.array([(start, stop) for _, start, stop, _ in window_set.manifest["spans"]])
    spans = spans[np.argsort(spans[:, 0])]
    inside = np.searchsorted(spans[:, 0], starts, side="right") - 1
    return int(np.sum((inside < 0) | (starts + window_set.settings.window_samples > spans[inside, 1])))
