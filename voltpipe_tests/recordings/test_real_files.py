"""Real recordings of the reference folder, where it is beside the repository; otherwise these tests are skipped."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from voltpipe.lake import RecordingKey
from voltpipe.recordings.condition_raw import Verdict, condition_raw
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.ingest import ingest
from voltpipe.recordings.open_recording import open_recording
from voltpipe.recordings.quarantine import quarantined
from voltpipe.recordings.raw import find_raw
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings

REFERENCE = next(
    (up / "shared" / "reference" for up in Path(__file__).parents if (up / "shared" / "reference").is_dir()), Path()
)
ECOG_FOLDER = "neuromodulation__py_neuromodulation/sub-testsub/ses-EphysMedOff/ieeg"


@pytest.fixture
def reference():
    """Finds a reference file, wherever the checkout lies."""

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


def test_ecog_of_an_impossible_size_is_quarantined_until_its_sidecar_says_the_unit(lake, ecog):
    (key,) = ingest(lake, ecog, "patient", Hints())
    outcome = condition_raw(lake, key, ConditioningSettings())
    assert outcome.verdict is Verdict.QUARANTINED
    assert "multiplied by 1e-06 they would be" in outcome.reason
    assert "say `unit: pV` in the sidecar" in outcome.reason
    assert key in quarantined(lake)
    ingest(lake, ecog, "patient", Hints(unit="pV", exclude_channels=("MOV_RIGHT",)))
    outcome = condition_raw(lake, key, ConditioningSettings())
    assert (outcome.verdict, outcome.figures["channels"], outcome.figures["rate_hz"]) == (Verdict.CONDITIONED, 9, 1000)
    assert 0.01 < outcome.figures["median_sd_mv"] < 0.1


def test_the_resolution_of_ecog_is_applied(ecog):
    stored = np.fromfile(ecog.with_suffix(".eeg"), "<f4").reshape(-1, 10)
    # The header's resolution is 0.1 uV.
    np.testing.assert_allclose(open_recording(ecog).read_mv(0, 100), stored[:100] * 1e-4, rtol=1e-6)


def test_each_sweep_of_a_patch_clamp_file_is_a_recording_in_mv(lake, reference):
    keys = ingest(lake, reference("swharden__pyABF/*.abf"), "cell", Hints())
    assert keys == tuple(RecordingKey("cell", f"17o05028_ic_steps.seg{sweep}") for sweep in range(16))
    assert set(find_raw(lake).found) == set(keys)
    recording = open_recording(lake.raw / "cell" / "17o05028_ic_steps.abf", segment=0)
    assert (recording.rate_hz, recording.n_samples, recording.channel_names) == (20_000, 60_000, ("IN 0",))
    assert recording.facts["unit"] == "mV"
    voltage_mv = recording.read_mv(0, 60_000)
    assert -90 < np.median(voltage_mv) < -40
    assert voltage_mv.max() < 60


def test_a_current_clamp_sweep_keeps_its_conversion(reference):
    path = reference("BlueBrain__BluePyEfe/*.nwb")
    with pytest.raises(RecordingError, match=r"several series.*acquisition/ic__Step__1.*hint `series`"):
        open_recording(path)
    recording = open_recording(path, series="ic__Step__1")
    assert (recording.rate_hz, recording.n_samples) == (10_000, 7168)
    # Stored as mV with a conversion of 1e-3 to volts; a reader that drops it is a thousand times off.
    assert recording.read_mv(0, 1).item() == pytest.approx(-15.5)


def test_an_mcs_stream_that_starts_late_is_read_with_its_conversion(reference):
    path = reference("multichannelsystems__McsPyDataTools/*.h5")
    with pytest.raises(RecordingError, match=r"several series \(Stream_0, Stream_1\)"):
        open_recording(path)
    recording = open_recording(path, series="Stream_1")
    assert (recording.rate_hz, recording.n_samples, recording.channel_names[0]) == (500, 9800, "E1")
    # ConversionFactor 381470, Exponent -9: one count is 0.38147 mV.
    counts = recording.read_mv(0, 9800) / 0.38147
    np.testing.assert_allclose(counts, np.round(counts), atol=2e-2)
    assert np.abs(counts).max() > 1000
