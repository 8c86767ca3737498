import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from pynwb import NWBHDF5IO

from voltpipe.lake.files import file_digest
from voltpipe.lake.keys import LakeError
from voltpipe.lake.paths import Lake
from voltpipe.simulation.raw_files import SimulationError, write_raw_files, write_recording
from voltpipe.simulation.settings import Preparation, RawFormat, SimulationSettings


@pytest.fixture
def lake(tmp_path: Path, compiled: Path) -> Lake:
    """A lake whose cache holds the compiled code."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "brian2").symlink_to(compiled)
    return Lake(tmp_path)


def test_nwb_reads_back_to_the_same_voltage_spikes_and_connections(organoid_recordings, lake):
    recording = organoid_recordings[1]
    path = write_recording(recording, lake, "day_30", RawFormat.NWB)
    assert path == lake.raw / "day_30" / "run_001.nwb"
    with NWBHDF5IO(path, "r") as file:
        nwb = file.read()
        voltage = nwb.acquisition["voltage"]
        assert (voltage.unit, voltage.rate) == ("volts", 1000)
        assert voltage.data.chunks == (1000, 100)
        np.testing.assert_array_equal(voltage.data[:], recording.voltage_mv)
        assert voltage.conversion == 1e-3
        assert nwb.scratch["channels"]["channel_type"].data[79:81].tolist() == ["excitatory", "inhibitory"]
        assert nwb.scratch["channels"]["channel_name"].data[7] == "neuron_007"
        np.testing.assert_allclose(
            nwb.units["spike_times"][7] * 1e3, recording.spike_times_ms[recording.spike_neurons == 7]
        )
        assert nwb.units["cell_type"].data[99] == "inhibitory"
        weights_mv = np.zeros((100, 100), np.float32)
        connections = nwb.scratch["connections"]
        weights_mv[connections["source"].data[:], connections["target"].data[:]] = connections["weight_mv"].data[:]
        np.testing.assert_array_equal(weights_mv, recording.weights_mv)
        assert json.loads(nwb.notes) == recording.facts
        assert nwb.subject.subject_id == "day_30"


def test_text_reads_back_to_the_same_voltage_within_1e_4_mv(organoid_recordings, lake):
    recording = organoid_recordings[1]
    path = write_recording(recording, lake, "day_30", RawFormat.TEXT)
    assert path == lake.raw / "day_30" / "run_1_voltages.dat"
    columns = np.loadtxt(path)
    np.testing.assert_array_equal(columns[:, 0], np.arange(1500))
    np.testing.assert_allclose(columns[:, 1:], recording.voltage_mv, rtol=0, atol=5.5e-5)
    np.testing.assert_array_equal(columns[:, 1:] == -70, np.abs(recording.voltage_mv + 70) < 5e-5)
    sidecar = yaml.safe_load(path.with_suffix(".yaml").read_text())
    assert sidecar == {"preparation": "organoid", "channel_types": ["excitatory"] * 80 + ["inhibitory"] * 20}


@pytest.mark.parametrize("file_format", RawFormat)
def test_writing_the_same_recording_again_keeps_the_same_bytes(organoid_recordings, lake, file_format):
    path = write_recording(organoid_recordings[0], lake, "day_30", file_format)
    digest = file_digest(lake.raw)
    assert write_recording(organoid_recordings[0], lake, "day_30", file_format) == path
    assert file_digest(lake.raw) == digest


@pytest.mark.parametrize(("file_format", "name"), [("nwb", "run_000.nwb"), ("text", "run_0_voltages.dat")])
def test_a_raw_file_with_other_content_is_never_changed(organoid_recordings, lake, file_format, name):
    path = lake.raw / "day_30" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a rig's own")
    with pytest.raises(SimulationError, match=re.escape(name)) as refused:
        write_recording(organoid_recordings[0], lake, "day_30", RawFormat(file_format))
    assert refused.value.code == "raw-content-differs"
    assert path.read_bytes() == b"a rig's own"
    assert not list(path.parent.glob(".*"))


def test_yielded_paths_exist_and_each_network_is_an_organoid(lake):
    settings = SimulationSettings(preparation=Preparation.BRUNEL, first_recording=3, n_recordings=2, seconds=1.1)
    paths = []
    for path in write_raw_files(settings, lake, "networks"):
        assert path.is_file()
        paths.append(path.relative_to(lake.raw).as_posix())
    assert paths == ["networks_003/run_003.nwb", "networks_004/run_004.nwb"]


def test_a_name_that_leads_out_of_the_lake_is_refused_before_the_simulation(lake):
    with pytest.raises(LakeError, match=re.escape("'../elsewhere'")) as refused:
        next(write_raw_files(SimulationSettings(), lake, "../elsewhere"))
    assert refused.value.code == "name-invalid"
