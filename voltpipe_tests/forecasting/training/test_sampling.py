"""Seed and epoch determine the order of training windows. Validation windows lie after the calibration span."""

import numpy as np
import pytest

from voltpipe.forecasting.training.sampling import training_windows, validation_windows
from voltpipe.windows.split_segments import TrainingDataError
from voltpipe.windows.splits import Split


def test_all_training_windows_are_used_before_any_is_repeated(ar1_windows):
    n_windows = len(ar1_windows.windows(Split.TRAIN))
    assert n_windows == 3 * ((400 - 35) // 5 + 1)
    epochs = [training_windows(ar1_windows, seed=0, epoch=e, windows_per_epoch=100) for e in range(1, 7)]
    in_order = np.concatenate(epochs)
    assert [len(epoch) for epoch in epochs] == [100] * 6
    for number in range(2):
        one_pass = in_order[number * n_windows : (number + 1) * n_windows]
        assert sorted(one_pass) == ar1_windows.windows(Split.TRAIN).tolist()
    assert not np.array_equal(in_order[:n_windows], in_order[n_windows : 2 * n_windows])


def test_an_epoch_is_at_most_one_pass(ar1_windows):
    epoch = training_windows(ar1_windows, seed=0, epoch=2, windows_per_epoch=10**6)
    assert sorted(epoch) == ar1_windows.windows(Split.TRAIN).tolist()


def test_another_seed_gives_another_order(ar1_windows):
    one, other = (training_windows(ar1_windows, seed=s, epoch=1, windows_per_epoch=50) for s in (0, 1))
    assert not np.array_equal(one, other)


def test_no_validation_target_lies_in_the_calibration_span(write_window_set, ar1_mv):
    recordings = [(Split.TRAIN, ar1_mv(0)), (Split.VALIDATION, ar1_mv(1))]
    # The calibration span has 20 samples. With a context of 10, a window may start at sample 10.
    windows = write_window_set(recordings, context_samples=10)
    starts = windows.index["start_row"][validation_windows(windows)] - 400
    assert starts.tolist() == list(range(10, 386, 5))


def test_validation_windows_are_spread_evenly_and_bounded(write_window_set, ar1_mv):
    windows = write_window_set([(Split.TRAIN, ar1_mv(0)), (Split.VALIDATION, ar1_mv(1, 2000))], stride_samples=1)
    chosen = validation_windows(windows)
    assert len(chosen) == 256
    assert set(np.diff(chosen)) <= {7, 8}


def test_missing_windows_are_refused(write_window_set, ar1_mv):
    windows = write_window_set([(Split.TIME, ar1_mv(0)), (Split.TRAIN, ar1_mv(0, 10))])
    with pytest.raises(TrainingDataError, check=lambda error: error.code == "no-training-window"):
        training_windows(windows, seed=0, epoch=1, windows_per_epoch=5)
    with pytest.raises(TrainingDataError, check=lambda error: error.code == "no-validation-window"):
        validation_windows(windows)
