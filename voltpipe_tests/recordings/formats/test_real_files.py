"""Real recordings are read, ingested and conditioned. These tests are skipped without the reference data."""

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.ingest import ingest
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.raw_folder import list_raw
from voltpipe.recordings.raw.recording_records import Verdict, read_quarantine
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings

REFERENCE = next(
    (
        parent / "shared" / "reference"
        for parent in Path(__file__).parents
        if (parent / "shared" / "reference").is_dir()
    ),
    Path(),
)
AXON = "swharden__pyABF/*.abf"
MCS = "multichannelsystems__McsPyDataTools/*.h5"
NWB = "BlueBrain__BluePyEfe/*.nwb"
ECOG_FOLDER = "neuromodulation__py_neuromodulation/sub-testsub/ses-EphysMedOff/ieeg"


@pytest.fixture
def reference():
    """Find a reference file for any location of the checkout."""

    def find(pattern):
        files = sorted(REFERENCE.glob(pattern))
        if not files:
            pytest.skip(f"no reference file {pattern}")
        return files[0]

    return find


@pytest.fixture
def ecog(reference, tmp_path):
    """Human ECoG and LFP, whose header states a unit that is a million times too large."""
    folder = tmp_path / "rig"
    folder.mkdir()
    for suffix in ("vhdr", "vmrk", "eeg"):
        shutil.copyfile(reference(f"{ECOG_FOLDER}/*.{suffix}"), folder / reference(f"{ECOG_FOLDER}/*.{suffix}").name)
    return next(folder.glob("*.vhdr"))


def test_ecog_of_impossible_amplitude_is_quarantined_until_its_sidecar_gives_the_unit(lake, ecog):
    (key,) = ingest(lake, ecog, "patient", Hints())
    outcome = condition_raw(lake, key, ConditioningSettings())
    assert outcome.verdict is Verdict.QUARANTINED
    assert [check.name for check in outcome.report.errors] == ["unit_range"]
    assert re.search(r"\b1e-06 .*`unit: pV`", outcome.reason)
    assert key in read_quarantine(lake)
    ingest(lake, ecog, "patient", Hints(unit="pV", exclude_channels=("MOV_RIGHT",)))
    outcome = condition_raw(lake, key, ConditioningSettings())
    assert (outcome.verdict, outcome.figures["channels"], outcome.figures["rate_hz"]) == (Verdict.CONDITIONED, 9, 1000)
    assert 0.01 < outcome.figures["median_sd_mv"] < 0.1


def test_each_sweep_of_a_patch_clamp_file_becomes_a_recording(lake, reference):
    keys = ingest(lake, reference(AXON), "cell", Hints())
    assert keys == tuple(RecordingKey("cell", f"17o05028_ic_steps.seg{sweep}") for sweep in range(16))
    assert set(list_raw(lake).found) == set(keys)
    # Current steps and trains of action potentials range from 41 mV to -113 mV, which is still a membrane potential.
    sweeps_of_3_s = ConditioningSettings(trim_ms=0, calibration_s=1, minimum_s=2)
    for key in keys[:2]:
        outcome = condition_raw(lake, key, sweeps_of_3_s)
        assert (outcome.verdict, outcome.reason) == (Verdict.CONDITIONED, "")
    too_short = condition_raw(lake, keys[2], ConditioningSettings())
    assert "duration" in [check.name for check in too_short.report.errors]
    assert "3.8 s" in too_short.reason


def test_floating_point_ecog_is_scaled_by_its_resolution(ecog):
    recording = open_recording(ecog)
    assert (recording.n_samples, recording.rate_hz, len(recording.channel_names)) == (19_001, 1000.0, 10)
    samples = np.fromfile(ecog.with_suffix(".eeg"), "<f4").reshape(-1, 10)
    # The header's resolution is 0.1 uV.
    np.testing.assert_allclose(recording.read_mv(0, 19_001), samples * 0.1e-3, rtol=1e-6)


def test_each_sweep_of_a_current_clamp_is_a_recording_in_mv(reference):
    path = reference(AXON)
    with pytest.raises(RecordingError, match=r"16 segments \(0 to 15\)") as refused:
        open_recording(path)
    assert refused.value.code == "segment-not-chosen"
    sweep = open_recording(path, segment=0)
    assert (sweep.n_samples, sweep.rate_hz, sweep.channel_names) == (60_000, 20_000.0, ("IN 0",))
    # The first count in the file is -1543, and each count is 1000 mV / 32,768.
    assert sweep.read_mv(0, 1).item() == pytest.approx(-1543 * 1000 / 32_768, rel=1e-6)


def test_sweeps_in_an_nwb_file_keep_their_conversion(reference):
    path = reference(NWB)
    with pytest.raises(RecordingError, match=r"acquisition/ic__Step__1,.*`series`") as refused:
        open_recording(path)
    assert refused.value.code == "series-not-chosen"
    sweep = open_recording(path, series="ic__Step__1")
    voltage_mv = sweep.read_mv(0, sweep.n_samples)
    with h5py.File(path) as file:
        stored = file["acquisition/ic__Step__1/data"][:]
        assert file["acquisition/ic__Step__1/data"].attrs["conversion"] == pytest.approx(1e-3)
    np.testing.assert_allclose(voltage_mv[:, 0], stored, rtol=1e-6)


@pytest.mark.parametrize(("stream", "n_samples"), [("Stream_0", 9850), ("Stream_1", 9800)])
def test_an_mcs_stream_may_start_at_any_time(reference, stream, n_samples):
    path = reference(MCS)
    with pytest.raises(RecordingError, match=r"\(Stream_0, Stream_1\)") as refused:
        open_recording(path)
    assert refused.value.code == "series-not-chosen"
    recording = open_recording(path, series=stream)
    assert (recording.n_samples, recording.rate_hz) == (n_samples, 500.0)
    assert recording.channel_names == tuple(f"E{i}" for i in range(1, 9))
    with h5py.File(path) as file:
        counts = file[f"Data/Recording_0/AnalogStream/{stream}/ChannelData"][:]
    # ADZero is 0, ConversionFactor 381,470, Exponent -9.
    np.testing.assert_allclose(recording.read_mv(0, n_samples), counts.T * 381_470e-9 * 1000, rtol=1e-6)
