"""A raw recording read as it would be conditioned: the same samples, wherever and in whatever pieces they are read."""

import re

import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition import condition, open_as_conditioned
from voltpipe.recordings.conditioning.signature import (
    conditioning_signature,
    settings_from_signature,
    signature_difference,
    signature_label,
)
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.recording import Recording, RecordingError, sample_times_s
from voltpipe.recordings.settings import ConditioningSettings, Profile
from voltpipe.recordings.store.conditioned_recording import is_conditioned, open_conditioned

LFP = ConditioningSettings(profile=Profile.LFP, lfp_rate_hz=250, trim_ms=0)
REFERENCED = ConditioningSettings(profile=Profile.LFP, lfp_rate_hz=250, common_reference=True, trim_ms=400)
SATURATED = ConditioningSettings(saturation_mv=100, trim_ms=0)


@pytest.fixture
def conditioned(tmp_path):
    def make(recording, settings, name="run.parquet"):
        condition(recording, tmp_path / name, settings, key=RecordingKey("org", "run"), source_digest="d" * 64)
        return open_conditioned(tmp_path / name)

    return make


@pytest.mark.parametrize("settings", [LFP, REFERENCED, SATURATED], ids=["lfp", "referenced", "saturated"])
def test_it_has_the_samples_segments_and_times_of_the_conditioned_recording(
    settings, recording_of, signal_mv, conditioned
):
    signal_mv[3000:3100] = 200
    recording = recording_of(signal_mv, segment_starts=(0, 4000))
    lazy, stored = open_as_conditioned(recording, settings), conditioned(recording, settings)
    assert isinstance(lazy, Recording)
    assert (lazy.rate_hz, lazy.n_samples, lazy.segment_starts) == (
        stored.rate_hz,
        stored.n_samples,
        stored.segment_starts,
    )
    np.testing.assert_allclose(lazy.read_mv(0, lazy.n_samples), stored.read_mv(0, stored.n_samples), atol=3e-5)
    everything = np.arange(lazy.n_samples)
    np.testing.assert_array_equal(sample_times_s(lazy, everything), sample_times_s(stored, everything))


def test_pieces_and_their_order_change_nothing_and_memory_is_bounded(made_recording, monkeypatch):
    monkeypatch.setattr("voltpipe.recordings.recording.CHUNK_VALUES", 600)
    recording = made_recording(
        lambda start, stop: np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)[start:stop], 5000
    )
    lazy = open_as_conditioned(recording, LFP)
    whole_mv = lazy.read_mv(0, lazy.n_samples)
    for start, stop in [(0, 7), (3, 60), (3, 3), (50, 300), (1000, 1001), (400, 900), (0, 1)]:
        np.testing.assert_array_equal(lazy.read_mv(start, stop), whole_mv[start:stop])
    assert recording.most_samples_read == 200
    with pytest.raises(RecordingError, match=r"\[0, 99999\)") as refused:
        lazy.read_mv(0, 99_999)
    assert refused.value.code == "range-outside-recording"


@pytest.mark.parametrize(("settings", "passes"), [(LFP, 1), (SATURATED, 2)], ids=["lfp", "saturated"])
def test_reading_it_through_reads_the_raw_samples_once_unless_they_decide(made_recording, settings, passes):
    n_read = []

    def still_mv(start, stop):
        n_read.append(stop - start)
        return np.full((stop - start, 3), -60, np.float32)

    lazy = open_as_conditioned(made_recording(still_mv, 5000), settings)
    for start in range(0, lazy.n_samples, 250):
        lazy.read_mv(start, min(start + 260, lazy.n_samples))
    assert sum(n_read) == passes * 5000


def test_samples_keep_the_times_at_which_the_rig_took_them(recording_of, signal_mv):
    lazy = open_as_conditioned(recording_of(signal_mv), ConditioningSettings(trim_ms=100), ((1.0, 1.5),))
    # From 0.1 s, at 1 kHz; left out are 500 ms of stimulation and 5 ms after.
    assert lazy.segment_starts == (0, 900)
    np.testing.assert_allclose(sample_times_s(lazy, np.array([0, 899, 900, 901])), [0.1, 0.999, 1.505, 1.506])
    np.testing.assert_array_equal(lazy.read_mv(898, 902), signal_mv[[998, 999, 1505, 1506]])


def test_a_recording_that_nothing_is_done_to_is_itself(recording_of, signal_mv):
    recording = recording_of(signal_mv)
    assert open_as_conditioned(recording, settings_from_signature({})) is recording


def test_nothing_left_is_named(recording_of, signal_mv):
    with pytest.raises(RecordingError) as refused:
        open_as_conditioned(recording_of(signal_mv[:10]), LFP)
    assert refused.value.code == "nothing-left"


def test_every_setting_makes_the_voltage_or_is_the_recordings_own():
    shared = {
        name
        for profile in Profile
        for name in conditioning_signature(
            ConditioningSettings(profile=profile, common_reference=True, saturation_mv=1.0)
        )
    }
    own = {"minimum_s", "keep_channels", "exclude_bad_channels", "bad_channel_ratio", "channel_count"}
    assert shared | own == set(ConditioningSettings.model_fields)
    assert shared & own == set()


def test_only_what_makes_the_voltage_has_to_be_alike():
    lfp = conditioning_signature(LFP)
    assert lfp == conditioning_signature(
        LFP.model_copy(update={"trim_ms": 800.0, "spikes_lowest_hz": 500.0, "channel_count": 3})
    )
    assert settings_from_signature(lfp) == LFP
    assert signature_difference({}, conditioning_signature(ConditioningSettings())) == ""
    assert re.fullmatch("profile membrane .* lfp", signature_difference({}, lfp))
    named = signature_difference(lfp, lfp | {"saturation_mv": 5.0, "saturated_share": 0.1}).split(", ")
    assert [re.split(" instead of | ", each) for each in named] == [
        ["saturation_mv", "None", "5"],
        ["saturated_share", "None", "0.1"],
    ]
    label = signature_label(conditioning_signature(REFERENCED))
    assert re.split(r"[(),] ?", label) == ["lfp ", "lfp_rate_hz 250", "lfp_passband_share 0.6", "", "common reference"]
    assert signature_label({}) == "membrane (as recorded)"


def test_a_conditioning_of_a_later_version_is_named():
    with pytest.raises(RecordingError, match="whitening") as refused:
        settings_from_signature({"whitening": True})
    assert refused.value.code == "conditioning-unknown"


def test_a_conditioned_recording_is_told_from_a_raw_table(recording_of, signal_mv, conditioned, put_raw):
    assert is_conditioned(conditioned(recording_of(signal_mv), LFP).path)
    assert not is_conditioned(put_raw("raw.parquet", signal_mv))
    assert not is_conditioned(put_raw("raw.csv", signal_mv))


def test_a_conditioned_recording_is_not_taken_for_a_raw_one(recording_of, signal_mv, conditioned):
    # With a unit and a rate given by hand, its z-scores would pass for millivolts.
    path = conditioned(recording_of(signal_mv), LFP).path
    with pytest.raises(RecordingError, match=r"run\.parquet") as refused:
        open_recording(path, unit="mV", rate_hz=250)
    assert refused.value.code == "written-by-voltpipe"
