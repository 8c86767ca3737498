"""Raw files get the same forecasts as if they had been conditioned like the training recordings first."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import CONFIG_FILE, ForecasterError
from voltpipe.forecasting.training.fitting import fit_baselines
from voltpipe.inference.forecast_file import forecast_file
from voltpipe.inference.forecast_recording import forecast_recording
from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.channel_selection import select_channels
from voltpipe.recordings.conditioning.condition import condition
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.sidecar import write_hints
from voltpipe.recordings.settings import ConditioningSettings, Profile
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording, open_conditioned
from voltpipe.windows.build_window_set import build_window_set
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import make_split_manifest

pytestmark = pytest.mark.slow

RATE_HZ = 5000.0
NAMES = ("e0", "e1", "e2")
SHORT = {"calibration_s": 0.5, "minimum_s": 0.6}
MEMBRANE = ConditioningSettings(**SHORT)
LFP = ConditioningSettings(profile=Profile.LFP, lfp_rate_hz=500, **SHORT)
SPIKES = ConditioningSettings(profile=Profile.SPIKES, spikes_highest_hz=2000, **SHORT)
REFERENCED = ConditioningSettings(profile=Profile.LFP, lfp_rate_hz=500, common_reference=True, trim_ms=200, **SHORT)
SATURATED = ConditioningSettings(saturation_mv=40, saturated_share=0.3, blanking_margin_ms=20, trim_ms=0, **SHORT)
WINDOWS = WindowSettings(context_samples=20, horizons_samples=(1, 3))


def wide_band_mv(seed: int) -> np.ndarray:
    """Simulate 3 s of three electrodes around 10 mV: independent and common slow waves, spikes, and noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(15_000)[:, None] / RATE_HZ
    slow = sum(np.sin(2 * np.pi * (hz * time_s + rng.uniform(size=3))) for hz in (3, 11, 24))
    noise = rng.normal(0, 0.3, (15_000, 3))
    noise[1:] += 0.7 * noise[:-1]
    spikes = np.where(rng.uniform(size=(15_000, 3)) < 0.002, -5, 0)
    return (10 + slow + np.sin(2 * np.pi * 7 * time_s) + noise + spikes).astype(np.float32)


def write_raw(path: Path, voltage_mv: np.ndarray, names: tuple[str, ...] = NAMES, rate_hz: float = RATE_HZ) -> Path:
    np.savez(path, voltage=voltage_mv, rate_hz=rate_hz, unit="mV", channel_names=list(names))
    return path


@pytest.fixture
def conditioned(tmp_path):
    def make(raw: Path, settings: ConditioningSettings) -> ConditionedRecording:
        path = tmp_path / f"{raw.stem}_{settings.profile}.parquet"
        recording = select_channels(open_recording(raw), settings)
        condition(recording, path, settings, key=RecordingKey("slice", raw.stem), source_digest=raw.stem)
        return open_conditioned(path)

    return make


@pytest.fixture
def trained(tmp_path, conditioned):
    """Train an autoregression on conditioned recordings, save it and load it again."""

    def make(settings: ConditioningSettings) -> Forecaster:
        raws = [write_raw(tmp_path / f"run_{seed}.npz", wide_band_mv(seed)) for seed in range(3)]
        recordings = {f"slice--{raw.stem}": conditioned(raw, settings) for raw in raws}
        manifest = make_split_manifest(recordings, WINDOWS)
        window_set = build_window_set(tmp_path / "set", manifest, recordings)
        fit_baselines(window_set)["autoregression"].save(tmp_path / "forecaster")
        return Forecaster.load(tmp_path / "forecaster")

    return make


@pytest.fixture
def forecast(tmp_path):
    def run(forecaster: Forecaster, file: Path, hints: Hints | None = None, every_ms: float = 10.0) -> pd.DataFrame:
        out = tmp_path / "forecast.parquet"
        rows = forecast_file(forecaster, file, hints or Hints(), out, every_ms=every_ms).rows
        frame = pq.read_table(out).to_pandas()
        assert len(frame) == rows
        return frame.astype({"channel": str}).round({"time_s": 6})

    return run


def forecast_of(recording: ConditionedRecording, forecaster: Forecaster, out: Path) -> pd.DataFrame:
    forecast_recording(forecaster, recording, out, every_ms=10.0)
    return pq.read_table(out).to_pandas().astype({"channel": str}).round({"time_s": 6})


def at_the_same_times(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return one.merge(other, on=["time_s", "channel", "horizon_ms"], suffixes=("", "_other"))


@pytest.mark.parametrize(
    "settings", [MEMBRANE, LFP, SPIKES, REFERENCED], ids=["membrane", "lfp", "spikes", "referenced"]
)
def test_a_raw_file_gets_the_forecasts_of_its_conditioned_form(settings, trained, conditioned, forecast, tmp_path):
    forecaster = trained(settings)
    raw = write_raw(tmp_path / "new.npz", wide_band_mv(9))
    expected = forecast_of(conditioned(raw, settings), forecaster, tmp_path / "expected.parquet")
    # The transient of the band-pass begins earlier on the raw file, which is not trimmed. It decays by 1.3 s.
    expected = expected[expected.time_s > 1.3]
    both = at_the_same_times(forecast(forecaster, raw), expected)
    assert len(both) == len(expected) > 500
    np.testing.assert_allclose(both.forecast_mv, both.forecast_mv_other, atol=2e-5)
    assert both.forecast_mv.std() > 0.05


def test_filtered_recordings_are_forecast_after_the_warm_up_of_the_filter(trained, forecast, tmp_path):
    frame = forecast(trained(LFP), write_raw(tmp_path / "new.npz", wide_band_mv(9)))
    # Warm-up of the low-pass, 20 samples of history, one ahead.
    assert 0.04 < frame.time_s.min() < 0.15
    assert frame.time_s.max() == pytest.approx(3 - 1 / 500 + 3 / 500)


@pytest.mark.parametrize("settings", [LFP, REFERENCED], ids=["lfp", "referenced"])
def test_later_samples_do_not_change_earlier_forecasts(settings, trained, forecast, tmp_path):
    forecaster = trained(settings)
    voltage_mv = wide_band_mv(9)
    before = forecast(forecaster, write_raw(tmp_path / "new.npz", voltage_mv))
    voltage_mv[7500:, 0] += 30
    both = at_the_same_times(before, forecast(forecaster, write_raw(tmp_path / "new.npz", voltage_mv)))
    # Up to 1.5 s. With a common reference, forecasts begin at 0.7 s, after the channels' levels are known.
    known = both.time_s - both.horizon_ms / 1000 < 1.5 - 1e-6
    assert known.sum() >= 6 * (80 if settings.common_reference else 140)
    np.testing.assert_array_equal(both.forecast_mv[known], both.forecast_mv_other[known])
    assert not np.allclose(both.forecast_mv[~known], both.forecast_mv_other[~known])


def test_no_forecast_is_made_from_saturated_or_stimulated_samples(trained, forecast, tmp_path):
    voltage_mv = wide_band_mv(9)
    voltage_mv[5000:5500] = 50  # from 1 to 1.1 s, and 20 ms after
    raw = write_raw(tmp_path / "new.npz", voltage_mv)
    write_hints(raw, Hints(stimulation_intervals_s=((2.0, 2.05),)))
    frame = forecast(trained(SATURATED), raw, every_ms=0.2)
    origins = np.unique((frame.time_s * RATE_HZ - frame.horizon_ms * RATE_HZ / 1000).round().astype(int))
    kept = ((0, 5000), (5600, 10_000), (10_350, 15_000))
    np.testing.assert_array_equal(origins, np.concatenate([np.arange(a + 19, b) for a, b in kept]))


def test_for_a_known_organoid_only_the_channels_of_the_training_are_forecast(trained, forecast, tmp_path):
    forecaster = trained(REFERENCED)
    voltage_mv = wide_band_mv(9)
    expected = forecast(forecaster, write_raw(tmp_path / "new.npz", voltage_mv))
    more_mv = np.column_stack([voltage_mv[:, ::-1], voltage_mv[::-1, 0] * 3])
    found = forecast(forecaster, write_raw(tmp_path / "more.npz", more_mv, (*reversed(NAMES), "ground")))
    pd.testing.assert_frame_equal(found, expected)


def test_a_conditioned_recording_is_not_conditioned_again(trained, conditioned, forecast, tmp_path):
    forecaster = trained(LFP)
    recording = conditioned(write_raw(tmp_path / "new.npz", wide_band_mv(9)), LFP)
    expected = forecast_of(recording, forecaster, tmp_path / "expected.parquet")
    pd.testing.assert_frame_equal(forecast(forecaster, recording.path), expected)
    with pytest.raises(
        ForecasterError, match="unit, rate_hz", check=lambda error: error.code == "hints-for-conditioned"
    ):
        forecast(forecaster, recording.path, Hints(unit="uV", rate_hz=500))


def test_a_recording_that_was_conditioned_differently_is_refused(trained, conditioned, forecast, tmp_path):
    raw = write_raw(tmp_path / "new.npz", wide_band_mv(9))
    forecaster = trained(LFP)
    with pytest.raises(
        ForecasterError,
        match=r"new_spikes.parquet .* spikes .* lfp",
        check=lambda error: error.code == "conditioning-differs",
    ):
        forecast(forecaster, conditioned(raw, SPIKES).path)
    other = LFP.model_copy(update={"lfp_passband_share": 0.4})
    with pytest.raises(
        ForecasterError,
        match=r"lfp_passband_share 0.4 .* 0.6",
        check=lambda error: error.code == "conditioning-differs",
    ):
        forecast(forecaster, conditioned(raw, other).path)


def test_a_wrong_unit_or_rate_is_refused(trained, forecast, tmp_path):
    forecaster = trained(LFP)
    raw = write_raw(tmp_path / "new.npz", wide_band_mv(9))
    with pytest.raises(
        ForecasterError,
        match=r"new.npz .* (9\d\d|1\.?\d*e\+03) .* `unit`",
        check=lambda error: error.code == "voltage-range-differs",
    ):
        forecast(forecaster, raw, Hints(unit="V"))
    with pytest.raises(
        ForecasterError,
        match=r"new.npz .* lfp \(lfp_rate_hz 500, .*: 250 Hz",
        check=lambda error: error.code == "conditioning-impossible",
    ):
        forecast(forecaster, raw, Hints(rate_hz=250))


def test_a_sidecar_with_another_profile_is_refused(trained, forecast, tmp_path):
    raw = write_raw(tmp_path / "new.npz", wide_band_mv(9))
    write_hints(raw, Hints(conditioning=ConditioningSettings(profile=Profile.MEMBRANE)))
    with pytest.raises(
        ForecasterError,
        match=r"sidecar, new.npz .* membrane .* lfp",
        check=lambda error: error.code == "conditioning-differs",
    ):
        forecast(trained(LFP), raw)


def test_a_forecaster_without_conditioning_in_its_config_takes_unfiltered_voltages(trained, forecast, tmp_path):
    raw = write_raw(tmp_path / "new.npz", wide_band_mv(9))
    expected = forecast(trained(MEMBRANE), raw)
    path = tmp_path / "forecaster" / CONFIG_FILE
    content = json.loads(path.read_text())
    assert content.pop("conditioning")["profile"] == "membrane"
    path.write_text(json.dumps(content))
    pd.testing.assert_frame_equal(forecast(Forecaster.load(path.parent), raw), expected)
