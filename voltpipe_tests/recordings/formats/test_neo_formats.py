"""All readers of rig formats give the same voltages for the same counts."""

import warnings

import numpy as np
import pytest
from spikeinterface.core import load

from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.recording import Recording, RecordingError


@pytest.fixture
def recording(rig_file):
    return open_recording(rig_file.path)


def test_an_opened_file_is_a_recording_of_its_format(recording, rig_format):
    assert isinstance(recording, Recording)
    assert recording.facts["format"] == rig_format.partition(" (")[0]


def test_counts_are_converted_to_mv_with_the_gain_in_the_file(recording, rig_file, counts):
    voltage_mv = recording.read_mv(0, recording.n_samples)
    assert voltage_mv.dtype == np.float32
    np.testing.assert_allclose(voltage_mv, counts * rig_file.uv_per_count / 1000, rtol=1e-6, atol=1e-9)


def test_length_rate_and_channels_are_those_of_the_file(recording, rig_file, counts):
    assert recording.n_samples == len(counts)
    assert recording.rate_hz == rig_file.rate_hz
    assert recording.channel_names == rig_file.channel_names
    assert recording.segment_starts == (0,)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (15_359, 15_360), (500, 530), (7, 7), (15_360, 15_360)])
def test_a_half_open_range_is_read(recording, rig_file, counts, start, stop):
    expected_mv = counts[start:stop] * rig_file.uv_per_count / 1000
    np.testing.assert_allclose(recording.read_mv(start, stop), expected_mv, rtol=1e-6, atol=1e-9)


def test_a_middle_channel_can_be_excluded(rig_file, counts):
    first, second, third = rig_file.channel_names
    recording = open_recording(rig_file.path, exclude_channels=[second])
    assert recording.channel_names == (first, third)
    expected_mv = counts[:100, [0, 2]] * rig_file.uv_per_count / 1000
    np.testing.assert_allclose(recording.read_mv(0, 100), expected_mv, rtol=1e-6, atol=1e-9)


def test_a_hint_overrides_the_rate_in_the_file(rig_file):
    assert open_recording(rig_file.path, rate_hz=12_345.0).rate_hz == 12_345.0


def test_one_of_several_segments_must_be_chosen(file_of_two_segments):
    path = file_of_two_segments.path
    with pytest.raises(RecordingError, match=r"2 segments \(0 to 1\).*`segment`") as refused:
        open_recording(path)
    assert refused.value.code == "segment-not-chosen"
    first, second = open_recording(path, segment=0), open_recording(path, segment=1)
    assert first.n_samples == second.n_samples
    assert second.facts["segment"] == 1
    with pytest.raises(RecordingError, match=r"segment 2.* 2 segments") as refused:
        open_recording(path, segment=2)
    assert refused.value.code == "segment-unknown"


def test_a_gap_in_time_separates_segments(tmp_path, rig_writers, counts):
    path = rig_writers["Neuralynx"](tmp_path, counts, gap_us=500_000).path
    halves = [open_recording(path, segment=segment).read_mv(0, len(counts) // 2) for segment in (0, 1)]
    np.testing.assert_allclose(np.concatenate(halves), counts * 0.015 / 1000, rtol=1e-6, atol=1e-9)


def test_positions_come_from_the_file(tmp_path, rig_writers, counts):
    recording = open_recording(rig_writers["MaxWell"](tmp_path, counts).path, exclude_channels=["electrode_101"])
    np.testing.assert_array_equal(recording.positions_um, [[0.0, 35.0], [35.0, 35.0]])


@pytest.mark.parametrize("kind", ["spikeinterface binary", "spikeinterface Zarr"])
def test_positions_of_the_probe_are_in_the_order_of_the_channels(tmp_path, rig_writers, counts, kind):
    path = rig_writers[kind](tmp_path, counts).path
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)
        expected_um = load(path).get_channel_locations()
    positions_um = open_recording(path).positions_um
    np.testing.assert_array_equal(positions_um, [[5.0, 40.0], [5.0, 20.0], [5.0, 0.0]])
    np.testing.assert_array_equal(positions_um, expected_um)


def test_a_stimulating_rigs_amplifiers_are_read_by_default_and_other_streams_on_request(tmp_path, rig_writers, counts):
    path = rig_writers["Intan (RHS)"](tmp_path, counts).path
    assert open_recording(path).facts["stream"] == "RHS2000 amplifier channel"
    # The DC amplifier's 512 counts are 0 V.
    direct = open_recording(path, series="DC Amplifier channel")
    np.testing.assert_allclose(direct.read_mv(0, 10), 0, atol=1e-3)


def test_one_file_of_a_folder_can_be_opened_directly(tmp_path, rig_writers, counts):
    folder = rig_writers["BrainVision"](tmp_path, counts).path
    assert open_recording(folder / "run.vhdr").n_samples == len(counts)
    assert open_recording(rig_writers["Blackrock"](folder, counts).path / "run.ns5").n_samples == len(counts)
