"""NWB files of many kinds, written with pynwb, are read."""

import json
from datetime import UTC, datetime

import h5py
import numpy as np
import pytest
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.ecephys import ElectricalSeries
from pynwb.icephys import CurrentClampSeries

from voltpipe.recordings.formats.hdf5 import internal_dataset
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.recording import RecordingError


@pytest.fixture
def file():
    return NWBFile(session_description="test", identifier="1", session_start_time=datetime(2024, 1, 1, tzinfo=UTC))


def write(file, path):
    with NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


def test_an_electrical_series_is_scaled_by_conversion_offset_and_channel_conversion(file, tmp_path):
    device = file.create_device("array")
    group = file.create_electrode_group("shank", description="one", location="organoid", device=device)
    file.add_electrode_column("channel_name", "as the rig names it")
    for name in ("A1", "A2", "A3"):
        file.add_electrode(group=group, location="organoid", channel_name=name)
    region = file.create_electrode_table_region([2, 0], "the two that were recorded")
    counts = np.array([[100, 100], [-200, 300]], dtype=np.int16)
    file.add_acquisition(
        ElectricalSeries(
            name="raw",
            data=counts,
            electrodes=region,
            rate=20_000.0,
            conversion=1e-6,
            offset=0.5e-3,
            channel_conversion=[1.0, 2.0],
        )
    )
    recording = open_recording(write(file, tmp_path / "e.nwb"))
    # count x 1e-6 V x channel gain + 0.5 mV
    np.testing.assert_allclose(recording.read_mv(0, 2), [[0.6, 0.7], [0.3, 1.1]], rtol=1e-6)
    assert recording.rate_hz == 20_000.0
    assert recording.channel_names == ("A3", "A1")
    assert recording.channel_types == ("electrode", "electrode")


@pytest.mark.parametrize(
    ("columns", "expected_um"),
    [
        (("rel_x", "rel_y", "x", "y"), [[40.0, 41.0], [0.0, 1.0]]),
        (("x", "y", "z"), [[40.0, 41.0, 42.0], [0.0, 1.0, 2.0]]),
        (("x",), None),
        ((), None),
    ],
    ids=["group positions first", "tissue positions", "one axis is not a position", "none"],
)
def test_positions_are_those_of_the_recorded_electrodes(file, tmp_path, columns, expected_um):
    group = file.create_electrode_group("a", description="one", location="x", device=file.create_device("array"))
    for row in range(3):
        where = {column: 20.0 * row + number for number, column in enumerate(columns)}
        file.add_electrode(group=group, location="organoid", **where)
    region = file.create_electrode_table_region([2, 0], "the two that were recorded")
    counts = np.zeros((4, 2), dtype=np.int16)
    file.add_acquisition(ElectricalSeries(name="raw", data=counts, electrodes=region, rate=20_000.0))
    positions_um = open_recording(write(file, tmp_path / "e.nwb")).positions_um
    if expected_um is None:
        assert positions_um is None
    else:
        np.testing.assert_array_equal(positions_um, expected_um)


def test_nan_positions_are_treated_as_unknown(file, tmp_path):
    group = file.create_electrode_group("a", description="one", location="x", device=file.create_device("array"))
    file.add_electrode(group=group, location="organoid", x=np.nan, y=np.nan, z=np.nan)
    region = file.create_electrode_table_region([0], "all")
    counts = np.zeros((4, 1), dtype=np.int16)
    file.add_acquisition(ElectricalSeries(name="raw", data=counts, electrodes=region, rate=20_000.0))
    assert open_recording(write(file, tmp_path / "e.nwb")).positions_um is None


def test_chunks_that_are_long_in_time_are_unpacked_once(tmp_path, file):
    file.add_acquisition(TimeSeries(name="v", data=np.zeros((2, 1020), np.int16), unit="mV", rate=20_000.0))
    path = write(file, tmp_path / "long.nwb")
    with h5py.File(path, "r+") as opened:
        attributes = dict(opened["acquisition/v/data"].attrs)
        del opened["acquisition/v/data"]
        # Chunks as hdmf makes them: one sample of all channels is in 93 chunks of 0.9 MB, more than the default cache.
        data = opened.create_dataset("acquisition/v/data", (40_000, 1020), np.int16, chunks=(40_000, 11), fillvalue=7)
        data.attrs.update(attributes)
    with h5py.File(path, "r") as opened:
        data = internal_dataset(path, opened["acquisition/v"], "data")
        _, n_bytes, _ = data.id.get_access_plist().get_chunk_cache()
        assert n_bytes == 93 * 40_000 * 11 * 2
    np.testing.assert_array_equal(open_recording(path).read_mv(39_999, 40_000), np.full((1, 1020), 7))


def test_current_clamp_is_one_channel_with_its_conversion(file, tmp_path):
    device = file.create_device("amplifier")
    electrode = file.create_icephys_electrode(name="pipette", description="patch", device=device)
    sweep = CurrentClampSeries(
        name="sweep",
        data=np.array([-650, -700, -600], dtype=np.int16),
        electrode=electrode,
        gain=1.0,
        rate=10_000.0,
        conversion=1e-4,
    )
    file.add_acquisition(sweep)
    recording = open_recording(write(file, tmp_path / "clamp.nwb"))
    np.testing.assert_allclose(recording.read_mv(0, 3), [[-65], [-70], [-60]], rtol=1e-6)


def test_several_series_are_listed_and_a_hint_selects_one(file, tmp_path):
    for name, mean_mv in (("left", -65.0), ("right", -55.0)):
        samples = np.full((4, 1), mean_mv)
        file.add_acquisition(TimeSeries(name=name, data=samples, unit="mV", rate=1000.0))
    file.add_acquisition(TimeSeries(name="temperature", data=np.ones(4), unit="celsius", rate=1.0))
    path = write(file, tmp_path / "two.nwb")
    with pytest.raises(RecordingError, match=r"acquisition/left, acquisition/right.*`series`") as refused:
        open_recording(path)
    assert refused.value.code == "series-not-chosen"
    assert open_recording(path, series="right").read_mv(0, 1).item() == -55.0
    assert open_recording(path, series="acquisition/left").read_mv(0, 1).item() == -65.0
    with pytest.raises(RecordingError, match="'middle'") as refused:
        open_recording(path, series="middle")
    assert refused.value.code == "series-unknown"


def test_a_file_without_voltages_is_refused_with_its_series(file, tmp_path):
    file.add_acquisition(TimeSeries(name="temperature", data=np.ones(4), unit="celsius", rate=1.0))
    with pytest.raises(RecordingError, match="acquisition/temperature") as refused:
        open_recording(write(file, tmp_path / "none.nwb"))
    assert refused.value.code == "voltage-series-missing"


def test_a_gap_in_the_timestamps_begins_a_segment(tmp_path, writers, make_signal):
    stamps = np.arange(100) / 1000
    stamps[40:] += 0.25
    path = tmp_path / "gap.nwb"
    writers["nwb"](path, make_signal(100), timestamps=stamps)
    recording = open_recording(path)
    assert recording.segment_starts == (0, 40)
    assert recording.rate_hz == 1000.0


def test_irregular_timestamps_are_refused(tmp_path, writers, make_signal):
    stamps = np.arange(100) / 1000
    stamps[40] += 0.0004
    path = tmp_path / "irregular.nwb"
    writers["nwb"](path, make_signal(100), timestamps=stamps)
    with pytest.raises(RecordingError, match=r"sample 40 .*0\.0014 s.*0\.001 s") as refused:
        open_recording(path)
    assert refused.value.code == "timestamps-irregular"


def test_notes_and_the_channel_table_give_facts_and_types(tmp_path, writers, signal_mv):
    path = tmp_path / "notes.nwb"
    notes = {"preparation": "organoid", "network_seed": 7, "dose": 0.5, "list": [1], "flag": True, "none": None}
    writers["nwb"](path, signal_mv, notes=json.dumps(notes))
    recording = open_recording(path)
    scalars = {"preparation": "organoid", "network_seed": 7, "dose": 0.5}
    recorded_at = "2024-01-01T00:00:00+00:00"
    assert recording.facts == {**scalars, "format": "NWB", "unit": "volts", "recorded_at": recorded_at}
    assert recording.channel_types == ("excitatory",) * 3


def test_notes_that_are_not_json_give_no_facts(tmp_path, writers, signal_mv):
    path = tmp_path / "notes.nwb"
    writers["nwb"](path, signal_mv, notes="cells looked healthy")
    assert set(open_recording(path).facts) == {"format", "unit", "recorded_at"}


def test_samples_outside_the_file_are_refused(tmp_path, writers, signal_mv):
    elsewhere = tmp_path / "elsewhere.bin"
    elsewhere.write_bytes(b"\0" * 4096)
    path = tmp_path / "external.nwb"
    writers["nwb"](path, signal_mv)
    with h5py.File(path, "a") as file:
        series = file["acquisition/voltage"]
        attributes = dict(series["data"].attrs)
        del series["data"]
        data = series.create_dataset("data", (512, 1), "f8", external=[(str(elsewhere), 0, 4096)])
        data.attrs.update(attributes)
    with pytest.raises(RecordingError, match=r"external\.nwb.*voltage/data") as refused:
        open_recording(path)
    assert refused.value.code == "samples-outside-file"


def test_hdf5_that_is_not_nwb_is_refused(tmp_path):
    path = tmp_path / "plain.nwb"
    with h5py.File(path, "w") as file:
        file["samples"] = np.zeros((10, 2))
    with pytest.raises(RecordingError, match=r"plain\.nwb") as refused:
        open_recording(path)
    assert refused.value.code == "not-nwb"
