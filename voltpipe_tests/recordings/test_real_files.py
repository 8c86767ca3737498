"""Real recordings on their way into the lake; skipped where the reference data are not beside the repository."""

import shutil
from pathlib import Path

import pytest

from voltpipe.lake import RecordingKey
from voltpipe.recordings.condition_raw import Verdict, condition_raw
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.ingest import ingest
from voltpipe.recordings.quarantine import quarantined
from voltpipe.recordings.raw import find_raw
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


def test_each_sweep_of_a_patch_clamp_file_becomes_a_recording(lake, reference):
    keys = ingest(lake, reference("swharden__pyABF/*.abf"), "cell", Hints())
    assert keys == tuple(RecordingKey("cell", f"17o05028_ic_steps.seg{sweep}") for sweep in range(16))
    assert set(find_raw(lake).found) == set(keys)
    # Steps of current and trains of action potentials: 41 mV down to -113 mV, and still a membrane potential in mV.
    sweeps_of_3_s = ConditioningSettings(trim_ms=0, calibration_s=1, minimum_s=2)
    for key in keys[:2]:
        outcome = condition_raw(lake, key, sweeps_of_3_s)
        assert (outcome.verdict, outcome.reason) == (Verdict.CONDITIONED, "")
    assert "3.8 s are needed" in condition_raw(lake, keys[2], ConditioningSettings()).reason
