"""Which channels are kept: the named, the sound, the liveliest."""

import numpy as np
import pytest

from voltpipe.recordings.conditioning.channel_selection import select_channels
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.signals.noise import noise_level_mv


@pytest.fixture
def array_mv():
    """Eight channels of noise with an SD of 1 mV; ch2 is flat, ch3 nearly dead, ch5 ten times as loud."""
    samples_mv = np.random.default_rng(0).standard_normal((5000, 8)).astype(np.float32)
    samples_mv[:, 2] = 7
    samples_mv[:, 3] *= 0.01
    samples_mv[:, 5] *= 10
    return samples_mv


@pytest.fixture
def names_kept(recording_of):
    def select(samples_mv, **settings):
        return select_channels(recording_of(samples_mv), ConditioningSettings(**settings)).channel_names

    return select


def test_nothing_is_referenced_to_what_all_channels_share_unless_asked_for():
    assert not ConditioningSettings().common_reference  # bursts of a culture are common to all its electrodes


def test_all_are_kept_unless_asked_otherwise(recording_of, array_mv):
    recording = recording_of(array_mv)
    assert select_channels(recording, ConditioningSettings()) is recording


def test_flat_dead_and_noisy_channels_are_told(names_kept, array_mv):
    assert names_kept(array_mv, exclude_bad_channels=True) == ("ch0", "ch1", "ch4", "ch6", "ch7")
    assert names_kept(array_mv, exclude_bad_channels=True, bad_channel_ratio=20.0)[-3:] == ("ch5", "ch6", "ch7")


def test_what_comes_after_the_calibration_span_decides_nothing(names_kept, array_mv):
    before = names_kept(array_mv, exclude_bad_channels=True)
    array_mv[2800:] = 0
    assert names_kept(array_mv, exclude_bad_channels=True) == before


def test_named_channels_are_kept_with_their_samples_in_the_recordings_order(recording_of, array_mv):
    recording = recording_of(array_mv, positions_um=17.5 * np.arange(16.0).reshape(8, 2))
    selected = select_channels(recording, ConditioningSettings(keep_channels=("ch6", "ch1")))
    assert selected.channel_names == ("ch1", "ch6")
    np.testing.assert_array_equal(selected.positions_um, recording.positions_um[[1, 6]])
    assert selected.facts["channels_not_kept"] == "ch0, ch2, ch3, ch4, ch5, ch7"
    np.testing.assert_array_equal(selected.read_mv(10, 20), array_mv[10:20, [1, 6]])


def test_a_count_keeps_the_channels_with_the_highest_spikes_over_their_noise(names_kept, array_mv):
    array_mv[::100, 4] = 50
    array_mv[::100, 7] = -40
    assert names_kept(array_mv, exclude_bad_channels=True, channel_count=2) == ("ch4", "ch7")


def test_a_channel_that_is_not_there_is_refused(names_kept, array_mv):
    with pytest.raises(RecordingError, match="nose") as refused:
        names_kept(array_mv, keep_channels=("nose", "ch1"))
    assert refused.value.code == "channel-unknown"


def test_where_every_channel_is_flat_they_stay_for_the_quality_check_to_name(names_kept):
    assert names_kept(np.ones((5000, 2), np.float32), exclude_bad_channels=True) == ("ch0", "ch1")


def test_noise_is_the_sd_of_a_normal_signal_and_spikes_hardly_move_it(array_mv):
    assert noise_level_mv(array_mv)[[0, 5]] == pytest.approx([1, 10], rel=0.05)
    array_mv[::50, 0] = 100
    assert noise_level_mv(array_mv)[0] == pytest.approx(1, rel=0.06)
