"""Real files of other laboratories, from the reference data beside the repository; skipped where that is not there."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from voltpipe.recordings.open_recording import open_recording
from voltpipe.recordings.quality import check_quality
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings

REFERENCE = Path(__file__).parents[4] / "shared" / "reference"
ECOG = REFERENCE / "neuromodulation__py_neuromodulation" / "sub-testsub" / "ses-EphysMedOff" / "ieeg"
MCS = REFERENCE / "multichannelsystems__McsPyDataTools" / "2014-07-09T10-17-35W8_Standard_all_500_Hz.h5"
AXON = REFERENCE / "swharden__pyABF" / "17o05028_ic_steps.abf"
NWB = REFERENCE / "BlueBrain__BluePyEfe" / "99111002.nwb"

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference data are not there")


def errors_of(recording):
    return check_quality(recording, QualitySettings(), ConditioningSettings()).errors


def test_each_sweep_of_a_current_clamp_is_a_recording_in_mv():
    with pytest.raises(RecordingError, match=r"holds 16 segments \(0 to 15\)"):
        open_recording(AXON)
    sweep = open_recording(AXON, segment=0)
    assert (sweep.n_samples, sweep.rate_hz, sweep.channel_names) == (60_000, 20_000.0, ("IN 0",))
    # The file's first count is -1543, of 1000 mV / 32,768 each.
    assert sweep.read_mv(0, 1).item() == pytest.approx(-1543 * 1000 / 32_768, rel=1e-6)


def test_sweeps_in_an_nwb_file_keep_their_conversion():
    with pytest.raises(RecordingError, match=r"several series \(acquisition/ic__Step__1,.*hint `series`"):
        open_recording(NWB)
    sweep = open_recording(NWB, series="ic__Step__1")
    voltage_mv = sweep.read_mv(0, sweep.n_samples)
    with h5py.File(NWB) as file:
        stored = file["acquisition/ic__Step__1/data"][:]
        assert file["acquisition/ic__Step__1/data"].attrs["conversion"] == pytest.approx(1e-3)
    np.testing.assert_allclose(voltage_mv[:, 0], stored, rtol=1e-6)


@pytest.mark.parametrize(("stream", "n_samples"), [("Stream_0", 9850), ("Stream_1", 9800)])
def test_an_mcs_stream_may_start_at_any_time(stream, n_samples):
    with pytest.raises(RecordingError, match=r"several series \(Stream_0, Stream_1\)"):
        open_recording(MCS)
    recording = open_recording(MCS, series=stream)
    assert (recording.n_samples, recording.rate_hz) == (n_samples, 500.0)
    assert recording.channel_names == tuple(f"E{i}" for i in range(1, 9))
    with h5py.File(MCS) as file:
        counts = file[f"Data/Recording_0/AnalogStream/{stream}/ChannelData"][:]
    # ADZero is 0, ConversionFactor 381,470, Exponent -9.
    np.testing.assert_allclose(recording.read_mv(0, n_samples), counts.T * 381_470e-9 * 1000, rtol=1e-6)


def test_the_ecogs_unit_is_refused_by_name_and_factor_until_a_hint_mends_it():
    recording = open_recording(ECOG)
    assert (recording.n_samples, recording.rate_hz, len(recording.channel_names)) == (19_001, 1000.0, 10)
    samples = np.fromfile(next(ECOG.glob("*.eeg")), "<f4").reshape(-1, 10)
    # The header's resolution, 0.1 uV, counts for floating-point samples too.
    np.testing.assert_allclose(recording.read_mv(0, 19_001), samples * 0.1e-3, rtol=1e-6)
    (error,) = errors_of(recording)
    assert error.name == "unit_range"
    assert "multiplied by 1e-06" in error.message
    assert "say `unit: pV` in the sidecar" in error.message
    assert errors_of(open_recording(ECOG, unit="pV", exclude_channels=["MOV_RIGHT"])) == ()
