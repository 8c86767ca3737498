"""The NWB export holds the exact voltages at their times, and passes the NWB inspector."""

from datetime import UTC, datetime

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pynwb import NWBHDF5IO

from voltpipe.cli.main import main
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE
from voltpipe.recordings.conditioning.condition import condition, open_as_conditioned
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, Profile
from voltpipe.recordings.store.conditioned_recording import open_conditioned
from voltpipe.recordings.store.nwb_export import export_nwb

SESSION_START = datetime(2024, 5, 6, 7, 8, tzinfo=UTC)
DESCRIPTION = {"session_start": SESSION_START, "species": "Homo sapiens", "age": "P90D"}
KEY = RecordingKey("org", "run")
POSITIONS_UM = np.array([[0.0, 17.5], [17.5, 17.5], [35.0, 0.0]])
AS_RECORDED = ConditioningSettings()


@pytest.fixture
def conditioned(recording_of, lake):
    """A conditioned recording in the lake."""

    def make(samples_mv, settings=AS_RECORDED, **facts):
        path = lake.conditioned_path(KEY)
        path.parent.mkdir(parents=True)
        condition(recording_of(samples_mv, **facts), path, settings, key=KEY, source_digest="d" * 64)
        return open_conditioned(path)

    return make


@pytest.fixture
def forecast_file(tmp_path):
    """Write forecasts of ch0, ch1, ch2, 1 and 5 ms ahead of 1 s, 1.01 s and 1.02 s. Each value names its forecast."""

    def write(channels=("ch0", "ch1", "ch2")):
        rows = [
            (origin / 1000 + horizon_ms / 1000, channel, horizon_ms, origin + horizon_ms + number / 10)
            for origin in (1000, 1010, 1020)
            for horizon_ms in (1.0, 5.0)
            for number, channel in enumerate(channels)
        ]
        columns = zip(*rows, strict=True)
        names = ("time_s", "channel", "horizon_ms", "forecast_mv")
        pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), tmp_path / "forecast.parquet")
        return tmp_path / "forecast.parquet"

    return write


def violations(path):
    from nwbinspector import Importance, inspect_nwbfile

    messages = inspect_nwbfile(nwbfile_path=path, importance_threshold=Importance.BEST_PRACTICE_VIOLATION)
    return [f"{message.check_function_name}: {message.message}" for message in messages]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # nwbinspector's dependencies
@pytest.mark.parametrize("segment_starts", [(0,), (0, 2500)], ids=["without a gap", "with a gap"])
def test_the_inspector_finds_no_violations(conditioned, forecast_file, signal_mv, tmp_path, segment_starts):
    recording = conditioned(signal_mv, segment_starts=segment_starts, positions_um=POSITIONS_UM)
    export_nwb(recording, tmp_path / "out.nwb", **DESCRIPTION, forecast=forecast_file())
    assert violations(tmp_path / "out.nwb") == []


def test_channels_keep_names_types_and_positions(conditioned, signal_mv, tmp_path):
    export_nwb(conditioned(signal_mv, positions_um=POSITIONS_UM), tmp_path / "out.nwb", **DESCRIPTION)
    recording = open_recording(tmp_path / "out.nwb")
    assert recording.channel_names == ("ch0", "ch1", "ch2")
    assert recording.channel_types == ("unknown",) * 3
    np.testing.assert_array_equal(recording.positions_um, POSITIONS_UM)


def test_voltages_keep_their_times(conditioned, signal_mv, tmp_path):
    export_nwb(conditioned(signal_mv), tmp_path / "out.nwb", **DESCRIPTION)
    recording = open_recording(tmp_path / "out.nwb")
    assert recording.positions_um is None
    np.testing.assert_allclose(recording.read_mv(0, 4200), signal_mv[800:], atol=1e-4)
    assert recording.rate_hz == 1000
    with NWBHDF5IO(tmp_path / "out.nwb", "r") as io:
        file = io.read()
        voltage = file.processing["conditioned"]["voltage"]
        assert (voltage.starting_time, voltage.rate, voltage.unit) == (0.8, 1000, "volts")
        channels = file.processing["conditioned"]["channels"]
        assert list(channels["channel_name"][:]) == ["ch0", "ch1", "ch2"]
        np.testing.assert_allclose(channels["mean_mv"][:], signal_mv[800:2800].mean(axis=0), rtol=1e-5)
        assert file.session_start_time == SESSION_START


def test_chunks_hold_all_channels(conditioned, signal_mv, tmp_path):
    export_nwb(conditioned(signal_mv), tmp_path / "out.nwb", **DESCRIPTION)
    with h5py.File(tmp_path / "out.nwb") as file:
        data = file["processing/conditioned/voltage/data"]
        assert data.chunks == data.shape == (4200, 3)  # one chunk: all channels


def test_an_exported_filtered_recording_is_not_filtered_again(conditioned, signal_mv, tmp_path):
    lfp = ConditioningSettings(profile=Profile.LFP, lfp_rate_hz=500)
    export_nwb(conditioned(signal_mv, lfp), tmp_path / "out.nwb", **DESCRIPTION)
    recording = open_recording(tmp_path / "out.nwb")
    with pytest.raises(RecordingError, match="lfp") as refused:
        open_as_conditioned(recording, lfp)
    assert refused.value.code == "already-filtered"
    assert open_as_conditioned(recording, ConditioningSettings(trim_ms=0)) is recording


def test_times_after_left_out_samples_are_those_of_the_raw_recording(conditioned, signal_mv, tmp_path):
    recording = conditioned(signal_mv)
    stretches = ((800, 3000), (3500, 5500))
    metadata = recording.metadata.model_copy(update={"segment_starts": (0, 2200), "stretches": stretches})
    recording.metadata = metadata
    export_nwb(recording, tmp_path / "out.nwb", **DESCRIPTION)
    with NWBHDF5IO(tmp_path / "out.nwb", "r") as io:
        times_s = io.read().processing["conditioned"]["voltage"].timestamps[:]
    np.testing.assert_allclose(times_s[[0, 2199, 2200, 4199]], [0.8, 2.999, 3.5, 5.499])


def test_forecasts_are_series_by_horizon_in_the_order_of_the_channels(conditioned, forecast_file, signal_mv, tmp_path):
    forecast = forecast_file(("ch2", "ch0", "ch1"))
    export_nwb(conditioned(signal_mv), tmp_path / "out.nwb", **DESCRIPTION, forecast=forecast)
    with NWBHDF5IO(tmp_path / "out.nwb", "r") as io:
        module = io.read().processing["forecast"]
        assert sorted(module.data_interfaces) == ["forecast_1_ms", "forecast_5_ms"]
        series = module["forecast_5_ms"]
        assert open_recording(tmp_path / "out.nwb", series="forecast/forecast_5_ms").n_samples == 3
        assert (series.starting_time, series.rate) == (pytest.approx(1.005), pytest.approx(100))
        np.testing.assert_allclose(series.data[0], [1005.1, 1005.2, 1005.0])


def test_forecasts_of_other_channels_are_refused_and_nothing_is_written(
    conditioned, forecast_file, signal_mv, tmp_path
):
    recording = conditioned(signal_mv)
    with pytest.raises(RecordingError, match=r"2 channels.* 3 of org--run") as refused:
        export_nwb(recording, tmp_path / "o.nwb", **DESCRIPTION, forecast=forecast_file(("ch0", "x")))
    assert refused.value.code == "forecast-channels-differ"
    pq.write_table(pa.table({"time_s": [0.0]}), tmp_path / "other.parquet")
    with pytest.raises(RecordingError, match="channel, horizon_ms, forecast_mv") as refused:
        export_nwb(recording, tmp_path / "o.nwb", **DESCRIPTION, forecast=tmp_path / "other.parquet")
    assert refused.value.code == "forecast-columns-missing"
    assert not (tmp_path / "o.nwb").exists()


def test_the_export_command_writes_a_file(conditioned, signal_mv, lake, tmp_path):
    conditioned(signal_mv)
    options = ["--session-start", "2024-05-06 07:08:00", "--species", "Homo sapiens", "--age", "P90D"]
    arguments = ["export", "org--run", "--out", str(tmp_path / "out.nwb"), *options]
    result = CliRunner().invoke(main, arguments, env={LAKE_VARIABLE: str(lake.root)})
    assert result.exit_code == 0, result.output
    assert open_recording(tmp_path / "out.nwb").n_samples == 4200
