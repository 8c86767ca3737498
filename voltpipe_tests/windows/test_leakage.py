"""The checks count what leaks, whatever made the index."""

import numpy as np
import pytest

from voltpipe.windows.build_window_set import build_window_set
from voltpipe.windows.leakage import count_shared_samples, count_windows_over_borders
from voltpipe.windows.split_manifest import make_split_manifest
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import INDEX_FILE, WindowSet


@pytest.fixture
def tampered(five_recordings, settings, tmp_path):
    """Builds a window set, and moves the first window of a split to another row."""

    def tamper(split, start_row):
        manifest = make_split_manifest(five_recordings, settings)
        windows = build_window_set(tmp_path / "set", manifest, five_recordings)
        index = np.array(windows.index)
        index["start_row"][windows.windows(split)[0]] = start_row
        np.save(tmp_path / "set" / INDEX_FILE, index)
        return WindowSet(tmp_path / "set")

    return tamper


def test_a_training_window_in_a_held_out_recording_shares_all_its_samples(tampered):
    windows = tampered(Split.TRAIN, 2500)  # recording 2 is held out
    assert count_shared_samples(windows) == 25
    assert count_windows_over_borders(windows) == 0


def test_a_window_that_reaches_into_another_split_shares_what_lies_there(tampered):
    # The training windows of recording 0 begin at 0, 3, ... 798, so the last one covers rows up to 823.
    windows = tampered(Split.TIME, 810)
    assert count_shared_samples(windows) == 823 - 810
    assert count_windows_over_borders(windows) == 1


def test_a_window_over_a_recordings_end_is_counted(tampered):
    assert count_windows_over_borders(tampered(Split.TIME, 990)) == 1


def test_a_window_that_just_fits_is_not_counted(tampered):
    assert count_windows_over_borders(tampered(Split.TIME, 975)) == 0


def test_a_window_before_the_first_span_is_counted(tampered):
    assert count_windows_over_borders(tampered(Split.TEST, 2079)) == 1  # held-out windows begin at row 2080
