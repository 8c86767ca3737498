"""Windows and random numbers of each epoch. Both follow from seed and epoch, so a training resumes bit by bit."""

import numpy as np
import torch
from jaxtyping import Int64

from voltpipe.windows.split_segments import TrainingDataError
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

MAX_VALIDATION_WINDOWS = 256


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed torch's random numbers for an epoch, counted from 1; epoch 0 draws the initial weights."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]))


def training_windows(
    window_set: WindowSet, *, seed: int, epoch: int, windows_per_epoch: int
) -> Int64[np.ndarray, " window"]:
    """Return the windows of one epoch (counted from 1), in the order in which they are trained on.

    All training windows are shuffled again for each pass. Each epoch takes the next `windows_per_epoch` of them.

    Raises:
        TrainingDataError: there is no training window.
    """
    windows = window_set.windows(Split.TRAIN)
    if not len(windows):
        raise TrainingDataError(
            "The window set has no training window. Record longer, or shorten the context.", code="no-training-window"
        )
    length = min(windows_per_epoch, len(windows))
    first_pass, first = divmod((epoch - 1) * length, len(windows))
    passes = [np.random.default_rng((seed, number)).permutation(windows) for number in (first_pass, first_pass + 1)]
    return np.asarray(np.concatenate(passes)[first : first + length])


def validation_windows(window_set: WindowSet) -> Int64[np.ndarray, " window"]:
    """Return up to 256 evenly spaced validation windows whose targets lie after their recording's calibration span.

    Raises:
        TrainingDataError: there is no such window.
    """
    windows = calibration_windows(window_set, MAX_VALIDATION_WINDOWS)
    if not len(windows):
        raise TrainingDataError(
            "The window set has no validation window after the calibration span. Add recordings, or record longer.",
            code="no-validation-window",
        )
    return windows


def calibration_windows(window_set: WindowSet, at_most: int) -> Int64[np.ndarray, " window"]:
    """Return `at_most` evenly spaced validation windows with targets after the calibration span; may be empty."""
    windows = window_set.windows(Split.VALIDATION)
    calibration_stop = np.array([recording.calibration_stop_row for recording in window_set.recordings])
    first_target = window_set.index["start_row"][windows] + window_set.context
    windows = windows[first_target >= calibration_stop[window_set.index["recording"][windows]]]
    positions = np.linspace(0, len(windows) - 1, min(at_most, len(windows))).round().astype(np.int64)
    return np.asarray(windows[positions])
