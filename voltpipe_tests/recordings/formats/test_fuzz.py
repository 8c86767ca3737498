"""For any content of a file, voltpipe's readers return voltages or raise a RecordingError.

Text and NumPy files are damaged byte by byte. HDF5 files get random layouts instead, because damaged bytes would
test the HDF5 library.
"""

import json

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.recording import RecordingError

FUZZ = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
TEXTS = ["dat", "csv", "npy", "npz"]


def read_or_refuse(path):
    """Read all samples. Return None, or the reason if the file was refused."""
    try:
        recording = open_recording(path)
        voltage_mv = recording.read_mv(0, recording.n_samples)
    except RecordingError as error:
        return str(error)
    assert voltage_mv.shape == (recording.n_samples, len(recording.channel_names))
    assert voltage_mv.dtype == np.float32
    return None


def assert_read_or_refused(path):
    reason = read_or_refuse(path)
    assert reason is None or path.name in reason


@st.composite
def damage(draw):
    """Draw a position (as a share of the file), bytes to insert there, and the number of bytes to remove."""
    return draw(st.floats(0, 1)), draw(st.binary(max_size=12)), draw(st.integers(0, 40))


@pytest.mark.parametrize("extension", TEXTS)
def test_a_damaged_file_is_read_or_refused(extension, tmp_path, writers, make_signal):
    path = tmp_path / f"recording.{extension}"
    writers[extension](path, make_signal(20))
    intact = path.read_bytes()
    assert read_or_refuse(path) is None

    @FUZZ
    @given(st.lists(damage(), min_size=1, max_size=3))
    def fuzz(damages):
        content = intact
        for share, inserted, removed in damages:
            at = int(share * len(content))
            content = content[:at] + inserted + content[at + removed :]
        path.write_bytes(content)
        assert_read_or_refused(path)

    fuzz()


SIDE_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=4)
)


@FUZZ
@given(key=st.sampled_from(["file_paths", "sampling_frequency", "num_channels", "dtype", "channel_ids", "time_axis",
                            "file_offset", "gain_to_uV", "offset_to_uV"]), value=SIDE_VALUES)  # fmt: skip
@pytest.mark.slow
def test_a_binary_folder_may_have_any_metadata(tmp_path, key, value):
    metadata = {
        "file_paths": ["samples.raw"],
        "sampling_frequency": 1000.0,
        "num_channels": 2,
        "dtype": "<i2",
        "channel_ids": ["a", "b"],
        "time_axis": 0,
        "file_offset": 0,
        "gain_to_uV": [1.0, 1.0],
        "offset_to_uV": [0.0, 0.0],
    }
    np.zeros((10, 2), "<i2").tofile(tmp_path / "samples.raw")
    (tmp_path / "binary.json").write_text(json.dumps({"kwargs": {**metadata, key: value}}))
    assert_read_or_refused(tmp_path)


SHAPES = st.lists(st.integers(0, 5), min_size=0, max_size=3).map(tuple)
DTYPES = st.sampled_from(["i2", "u2", "f4", "f8", "S3", "c8", "?"])


@FUZZ
@given(shape=SHAPES, dtype=DTYPES, attributes=st.dictionaries(
    st.sampled_from(["frames_per_second", "uV_per_sample_unit", "channel_count", "duration_frames"]),
    st.one_of(st.floats(), st.integers(-5, 10), st.text("ab", max_size=3))))  # fmt: skip
def test_a_cl1_file_may_hold_anything(tmp_path, shape, dtype, attributes):
    path = tmp_path / "recording.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("samples", shape, dtype)
        file.attrs.update(attributes)
    assert_read_or_refused(path)


@FUZZ
@given(shape=SHAPES, dtype=DTYPES, mapped=st.lists(st.integers(-2, 6), max_size=5), left_out=st.sampled_from(
    ["", "lsb", "sampling", "mapping", "routed", "channels"]), recorded=st.lists(st.integers(-1, 6), max_size=5),
    lsb=st.lists(st.floats(), max_size=2))  # fmt: skip
def test_a_maxwell_file_may_hold_anything(tmp_path, shape, dtype, mapped, left_out, recorded, lsb):
    path = tmp_path / "recording.raw.h5"
    rows = np.array([(channel, 10 + channel, 0.0, 0.0) for channel in mapped],
                    [("channel", "i4"), ("electrode", "i4"), ("x", "f8"), ("y", "f8")])  # fmt: skip
    parts = {
        "lsb": ("settings/lsb", np.array(lsb)),
        "sampling": ("settings/sampling", np.array([1000.0])),
        "mapping": ("settings/mapping", rows),
        "routed": ("groups/routed/raw", np.zeros(shape, dtype)),
        "channels": ("groups/routed/channels", np.array(recorded, "i4")),
    }
    with h5py.File(path, "w") as file:
        file.create_group("wells/well000/rec0000")
        for name, content in (part for part_name, part in parts.items() if part_name != left_out):
            file[f"wells/well000/rec0000/{name}"] = content
    assert_read_or_refused(path)


@FUZZ
@given(shape=SHAPES, dtype=DTYPES, rows=st.lists(st.tuples(st.integers(-1, 4), st.sampled_from([b"V", b"A", b"mV"]),
    st.integers(-400, 400), st.integers(-1, 2)), max_size=4), stamps=st.lists(
    st.tuples(*[st.integers(-1, 5)] * 3), max_size=3))  # fmt: skip
def test_an_mcs_file_may_hold_anything(tmp_path, shape, dtype, rows, stamps):
    path = tmp_path / "recording.h5"
    kinds = [("RowIndex", "i4"), ("Unit", "S2"), ("Exponent", "i4"), ("ADZero", "i4"), ("Tick", "i8"),
             ("ConversionFactor", "i8"), ("Label", "S4")]  # fmt: skip
    channels = np.array([(row, unit, exponent, 0, 1000 * tick, 1, b"E%d" % i)
                         for i, (row, unit, exponent, tick) in enumerate(rows)], kinds)  # fmt: skip
    with h5py.File(path, "w") as file:
        stream = file.create_group("Data/Recording_0/AnalogStream/Stream_0")
        stream["ChannelData"] = np.zeros(shape, dtype)
        stream["InfoChannel"] = channels
        stream["ChannelDataTimeStamps"] = np.array(stamps, "i8").reshape(-1, 3)
    assert_read_or_refused(path)
