"""Forecasts of a recording have a row for each time, horizon and channel, and reach past its end."""

import json
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest

from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.forecasting.training.fitting import fit_novelty_detector
from voltpipe.inference import forecast_recording as module
from voltpipe.inference.forecast_recording import forecast_recording
from voltpipe.windows.splits import Split

HORIZONS = (1, 2, 5)


@dataclass(frozen=True)
class Ramp:
    """Two channels that rise by 0.01 mV each sample, from -60 and -50 mV."""

    n_samples: int
    rate_hz: float = 1000.0
    channel_names: tuple[str, ...] = ("n0", "n1")
    channel_types: tuple[str, ...] = ("unknown", "unknown")
    segment_starts: tuple[int, ...] = (0,)
    positions_um: None = None
    nan_at: tuple[int, int] | None = None

    @property
    def facts(self):
        return {}

    def read_mv(self, start_sample, stop_sample):
        voltage_mv = np.arange(self.n_samples)[:, None] * 0.01 + [-60, -50]
        if self.nan_at:
            voltage_mv[self.nan_at] = np.nan
        return voltage_mv[start_sample:stop_sample].astype(np.float32)


@pytest.fixture
def persistence(forecaster_by, window_set_of):
    """Forecaster with a context of 20 samples that repeats the last one."""
    windows = window_set_of([np.random.default_rng(0).normal(-60, 4, (80, 2)).astype(np.float32)], [Split.TRAIN])
    return forecaster_by("persistence", lambda z, mean, sd: z[:, -1:].expand(-1, len(HORIZONS), -1), windows)


def test_weights_bound_to_channels_refuse_other_channels(forecaster_by, window_set_of, tmp_path):
    window_set = window_set_of([np.random.default_rng(0).normal(-60, 5, (400, 2)).astype(np.float32)], [Split.TRAIN])
    bound = forecaster_by("cnn_lstm", lambda history_z, *_: history_z[:, -1:].expand(-1, len(HORIZONS), -1), window_set)
    other = Ramp(500, rate_hz=bound.config.rate_hz, channel_names=("elsewhere", "n1"))
    with pytest.raises(
        ForecasterError, match=r"\(2: elsewhere, n1\) .* 1: n0\)", check=lambda error: error.code == "channels-differ"
    ):
        forecast_recording(bound, other, tmp_path / "f.parquet", every_ms=10.0)


@pytest.fixture
def forecast(persistence, tmp_path):
    def run(recording, every_ms=10.0):
        made = forecast_recording(persistence, recording, tmp_path / "forecast.parquet", every_ms=every_ms)
        frame = pq.read_table(tmp_path / "forecast.parquet").to_pandas()
        assert len(frame) == made.rows
        frame["origin"] = (frame.time_s * 1000 - frame.horizon_ms).round().astype(int)
        return frame

    return run


def test_there_is_a_row_for_each_time_channel_and_horizon(forecast):
    frame = forecast(Ramp(103))
    origins = [22, 32, 42, 52, 62, 72, 82, 92, 102]
    assert list(frame.columns[:4]) == ["time_s", "channel", "horizon_ms", "forecast_mv"]
    assert sorted(frame.origin.unique()) == origins
    assert len(frame) == len(origins) * len(HORIZONS) * 2
    assert sorted(frame.horizon_ms.unique()) == [1.0, 2.0, 5.0]
    level_mv = frame.channel.map({"n0": -60, "n1": -50}).astype(float)
    np.testing.assert_allclose(frame.forecast_mv, level_mv + 0.01 * frame.origin, atol=1e-4)


@pytest.mark.parametrize("n_samples", [100, 103, 109])
def test_the_last_forecasts_start_at_the_last_sample_and_reach_past_the_end(forecast, n_samples):
    frame = forecast(Ramp(n_samples))
    assert frame.origin.max() == n_samples - 1
    assert frame.time_s.max() == pytest.approx((n_samples - 1 + 5) / 1000)


def test_the_shortest_recording_gives_one_forecast(forecast):
    assert forecast(Ramp(20)).origin.unique().tolist() == [19]


def test_no_history_crosses_a_gap(forecast):
    frame = forecast(Ramp(100, segment_starts=(0, 50)), every_ms=1.0)
    assert sorted(frame.origin.unique()) == [*range(19, 50), *range(69, 100)]


def test_the_chunk_size_does_not_change_forecasts(forecast, monkeypatch):
    expected = forecast(Ramp(103))
    monkeypatch.setattr(module, "_CHUNK_VALUES", 100)  # two histories a chunk
    assert forecast(Ramp(103)).equals(expected)


def test_the_file_names_its_forecaster(forecast, tmp_path):
    forecast(Ramp(30))
    metadata = json.loads(pq.read_schema(tmp_path / "forecast.parquet").metadata[b"voltpipe"])
    assert metadata["forecaster"]["architecture"] == "persistence"


@pytest.mark.parametrize(
    ("recording", "code", "facts"),
    [
        (Ramp(100, rate_hz=500.0), "rate-differs", " 500 Hz.* 1000 Hz"),
        (Ramp(19), "recording-too-short", " 19 .* 20 "),
        (Ramp(38, segment_starts=(0, 19)), "recording-too-short", " 38 .* 20 "),
        (Ramp(100, nan_at=(70, 1)), "samples-not-finite", "n1 .* 0.0700 s"),
    ],
)
def test_a_recording_that_cannot_be_forecast_is_refused_and_leaves_no_file(forecast, tmp_path, recording, code, facts):
    with pytest.raises(ForecasterError, match=facts, check=lambda error: error.code == code):
        forecast(recording)
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class Noise(Ramp):
    """White noise around -60 mV; n1 is constant in the second half."""

    def read_mv(self, start_sample, stop_sample):
        voltage_mv = np.random.default_rng(1).normal(-60, 4, (self.n_samples, 2))
        voltage_mv[self.n_samples // 2 :, 1] = -60.0
        return voltage_mv[start_sample:stop_sample].astype(np.float32)


def test_the_novelty_of_the_recording_is_stored_in_the_file(forecaster_by, window_set_of, tmp_path):
    rng = np.random.default_rng(0)
    recordings_mv = [rng.normal(-60, 4, (2000, 2)).astype(np.float32) for _ in range(2)]
    windows = window_set_of(recordings_mv, [Split.TRAIN, Split.VALIDATION])
    rule = forecaster_by("persistence", lambda z, mean, sd: z[:, -1:].expand(-1, len(HORIZONS), -1), windows)
    out = tmp_path / "f.parquet"
    assert forecast_recording(rule, Noise(2000), out, every_ms=10.0).notice is None
    assert module.FAMILIARITY_KEY not in pq.read_metadata(out).metadata
    made = forecast_recording(fit_novelty_detector(rule, windows), Noise(2000), out, every_ms=10.0)
    assert made.notice
    assert made.notice.warns
    assert made.notice.share == pytest.approx(0.5, abs=0.03)
    assert made.notice.channels == ("n1",)
    metadata = json.loads(pq.read_metadata(out).metadata[module.FAMILIARITY_KEY])
    assert metadata == json.loads(json.dumps(made.notice.facts()))
