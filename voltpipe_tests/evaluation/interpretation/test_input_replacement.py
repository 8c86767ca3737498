"""Replacements of a history were recorded at other times and fit its kept samples."""

import numpy as np
import torch

from voltpipe.evaluation.interpretation.input_replacement import ReplacementWindows, affordable
from voltpipe.windows.splits import Split


def windows_of(window_set, at_most=30):
    return ReplacementWindows(window_set, window_set.windows(Split.TEST), at_most)


def test_replacements_are_from_the_same_recording_and_share_no_sample(echo_set):
    windows = windows_of(echo_set)
    starts = echo_set.index["start_row"]
    for window in windows.windows:
        others = windows.others(window)
        assert len(others) > 2
        assert (np.abs(starts[others] - starts[window]) >= echo_set.settings.window_samples).all()
        assert set(echo_set.index["recording"][others]) == {echo_set.index["recording"][window]}


def test_another_past_keeps_the_last_samples_and_joins_them_without_a_step(window_set_of):
    ramp_mv = np.tile(np.arange(40.0), 20)[:, None]  # a sawtooth: before 7 always comes 6
    window_set = window_set_of([ramp_mv, ramp_mv], [Split.TRAIN, Split.TEST])
    windows = windows_of(window_set)
    for past_z in windows.other_past_z(4):
        torch.testing.assert_close(past_z, windows.batch.history_z)
    noise_mv = np.random.default_rng(0).normal(0, 1, (400, 2))
    windows = windows_of(window_set_of([noise_mv, noise_mv], [Split.TRAIN, Split.TEST]))
    first_z, second_z = windows.other_past_z(4)
    assert torch.equal(first_z[:, -4:], windows.batch.history_z[:, -4:])
    assert not torch.isclose(first_z[:, :-4], windows.batch.history_z[:, :-4]).all(1).any()
    assert not torch.isclose(first_z[:, :-4], second_z[:, :-4]).all(1).any()


def test_a_recording_too_short_for_replacements_gives_no_windows(window_set_of):
    voltage_mv = np.random.default_rng(0).normal(0, 1, (40, 2))
    assert len(windows_of(window_set_of([voltage_mv, voltage_mv], [Split.TRAIN, Split.TEST]))) == 0


def test_fewer_large_windows_are_taken(echo_set):
    assert affordable(80, echo_set) == 80
    assert len(windows_of(echo_set, 12)) == 12
    assert list(windows_of(echo_set, 12).some(3).windows) == [windows_of(echo_set, 12).windows[i] for i in (0, 5, 11)]
