"""A raw recording is forecast where it fits the forecaster, and refused by name where it does not."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from voltpipe.evaluation.forecast_recording import forecast_recording
from voltpipe.forecasting.forecaster import ForecasterError
from voltpipe.recordings.open_recording import open_recording
from voltpipe.windows.window_set import Split


@pytest.fixture
def forecaster(forecaster_by, window_set_of):
    voltage_mv = np.random.default_rng(0).normal(-60, 5, (400, 2)).astype(np.float32)
    window_set = window_set_of([voltage_mv], [Split.TRAIN])
    return forecaster_by("cnn_lstm", lambda history_z, *_: history_z[:, -1:].expand(-1, 3, -1), window_set)


@pytest.fixture
def recording_of(tmp_path):
    def make(n_channels, rate_hz):
        path = tmp_path / f"{n_channels}_{rate_hz:g}.npz"
        voltage_mv = np.random.default_rng(1).normal(-60, 5, (100, n_channels)).astype(np.float32)
        np.savez(path, voltage=voltage_mv, rate_hz=rate_hz, unit="mV")
        return open_recording(path)

    return make


def test_a_row_is_written_for_each_moment_horizon_and_channel(forecaster, recording_of, tmp_path):
    recording = recording_of(2, forecaster.config.rate_hz)
    n_rows = forecast_recording(forecaster, recording, tmp_path / "f.parquet", every_ms=1000.0)
    assert pq.read_table(tmp_path / "f.parquet").num_rows == n_rows
    assert n_rows % (3 * 2) == 0


def test_a_recording_of_other_channels_is_refused_and_nothing_written(forecaster, recording_of, tmp_path):
    with pytest.raises(ForecasterError, match="found 3 channels, but this cnn_lstm was trained on 2"):
        forecast_recording(
            forecaster, recording_of(3, forecaster.config.rate_hz), tmp_path / "f.parquet", every_ms=10.0
        )
    assert not list(tmp_path.glob("*f.parquet*"))


def test_a_recording_of_another_rate_is_refused(forecaster, recording_of, tmp_path):
    with pytest.raises(ForecasterError, match="the recording has 12345 Hz, the forecaster was trained at"):
        forecast_recording(forecaster, recording_of(2, 12_345.0), tmp_path / "f.parquet", every_ms=10.0)
