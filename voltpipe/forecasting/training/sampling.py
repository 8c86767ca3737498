"""Which windows are seen when. Everything follows from the seed and the epoch, so a resumed training goes on alike."""

import numpy as np
from jaxtyping import Int64

from voltpipe.windows.split_segments import TrainingDataError
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

MAX_VALIDATION_WINDOWS = 256


def training_windows(
    window_set: WindowSet, *, seed: int, epoch: int, windows_per_epoch: int
) -> Int64[np.ndarray, " window"]:
    """The windows of one epoch (counted from 1), in their order.

    All training windows come in a random order, then all again in another; epochs cut pieces of equal length off that.

    Raises:
        TrainingDataError: there is no training window.
    """
    windows = window_set.windows(Split.TRAIN)
    if not len(windows):
        raise TrainingDataError(
            "the window set has no training window; record longer, or shorten the context", code="no-training-window"
        )
    length = min(windows_per_epoch, len(windows))
    first_pass, first = divmod((epoch - 1) * length, len(windows))
    passes = [np.random.default_rng((seed, number)).permutation(windows) for number in (first_pass, first_pass + 1)]
    return np.asarray(np.concatenate(passes)[first : first + length])


def validation_windows(window_set: WindowSet) -> Int64[np.ndarray, " window"]:
    """Up to 256 validation windows, evenly spread, whose targets lie after their recording's calibration span.

    Raises:
        TrainingDataError: there is none.
    """
    windows = calibration_windows(window_set, MAX_VALIDATION_WINDOWS)
    if not len(windows):
        raise TrainingDataError(
            "the window set has no validation window after the calibration span; add recordings, or record longer",
            code="no-validation-window",
        )
    return windows


def calibration_windows(window_set: WindowSet, at_most: int) -> Int64[np.ndarray, " window"]:
    """Validation windows, evenly spread, whose targets lie after their recording's calibration span; maybe none."""
    windows = window_set.windows(Split.VALIDATION)
    calibration_stop = np.array([recording.calibration_stop_row for recording in window_set.recordings])
    first_target = window_set.index["start_row"][windows] + window_set.context
    windows = windows[first_target >= calibration_stop[window_set.index["recording"][windows]]]
    positions = np.linspace(0, len(windows) - 1, min(at_most, len(windows))).round().astype(np.int64)
    return np.asarray(windows[positions])
