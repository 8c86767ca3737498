"""All readers of portable formats give the same voltages for the same small recording."""

import numpy as np
import pytest

from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.recording import Recording, RecordingError

EXTENSIONS = ["nwb", "dat", "csv", "npy", "npz", "parquet"]


@pytest.fixture(params=EXTENSIONS)
def recording(request, tmp_path, signal_mv, writers):
    path = tmp_path / f"recording.{request.param}"
    writers[request.param](path, signal_mv)
    return open_recording(path)


def test_an_opened_file_is_a_recording(recording):
    assert isinstance(recording, Recording)


def test_voltages_in_mv_are_bit_exact(recording, signal_mv):
    voltage_mv = recording.read_mv(0, recording.n_samples)
    assert voltage_mv.dtype == np.float32
    np.testing.assert_array_equal(voltage_mv, signal_mv)


def test_length_rate_and_channels_are_known(recording):
    assert recording.n_samples == 5000
    assert recording.rate_hz == 1000.0
    assert recording.segment_starts == (0,)
    file_has_names = recording.facts["format"] != "text"
    assert recording.channel_names == (("a", "b", "c") if file_has_names else ("neuron_0", "neuron_1", "neuron_2"))
    assert len(recording.channel_types) == 3


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (4999, 5000), (990, 1010), (7, 7), (5000, 5000), (2000, 5000)])
def test_a_half_open_range_is_read(recording, signal_mv, start, stop):
    np.testing.assert_array_equal(recording.read_mv(start, stop), signal_mv[start:stop])


def test_ranges_may_be_read_backwards(recording, signal_mv):
    recording.read_mv(4000, 5000)
    np.testing.assert_array_equal(recording.read_mv(100, 200), signal_mv[100:200])


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (0, 5001), (5000, 5001), (20, 10)])
def test_a_range_outside_the_recording_is_refused(recording, start, stop):
    with pytest.raises(RecordingError, match=r"\[0, 5000\)") as refused:
        recording.read_mv(start, stop)
    assert refused.value.code == "range-outside-recording"


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_channel_can_be_excluded(extension, tmp_path, signal_mv, writers):
    path = tmp_path / f"recording.{extension}"
    writers[extension](path, signal_mv)
    names = ("x", "y", "z")
    recording = open_recording(path, channel_names=names, exclude_channels=["y"])
    assert recording.channel_names == ("x", "z")
    np.testing.assert_array_equal(recording.read_mv(0, 5000), signal_mv[:, [0, 2]])
