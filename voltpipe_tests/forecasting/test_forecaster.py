"""A saved forecaster loads unchanged, and inputs or files that do not fit are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import CONFIG_FILE, WEIGHTS_FILE, ForecasterError
from voltpipe.forecasting.module_registry import MODULES
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet


@pytest.fixture(params=MODULES)
def forecaster(request, ar1_windows: WindowSet) -> Forecaster:
    torch.manual_seed(0)
    forecaster = Forecaster.unfitted(request.param, ar1_windows)
    forecaster.module.fit(ar1_windows)
    return forecaster


@pytest.fixture
def autoregression(ar1_windows: WindowSet) -> Forecaster:
    forecaster = Forecaster.unfitted("autoregression", ar1_windows)
    forecaster.module.fit(ar1_windows)
    return forecaster


def history_mv(n_samples: int = 30, n_channels: int = 4) -> np.ndarray:
    return np.random.default_rng(1).normal(-60, 5, (3, n_samples, n_channels)).astype(np.float32)


def test_a_saved_forecaster_forecasts_the_same_and_has_no_pickle(forecaster: Forecaster, tmp_path: Path):
    forecaster.save(tmp_path / "saved")
    again = Forecaster.load(tmp_path / "saved")
    assert again.config == forecaster.config
    assert np.array_equal(again.predict_mv(history_mv()), forecaster.predict_mv(history_mv()))
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {WEIGHTS_FILE, CONFIG_FILE}


def test_one_window_is_a_batch_of_one(forecaster: Forecaster):
    one = forecaster.predict_mv(history_mv()[1])
    assert one.shape == (len(forecaster.horizons), 4)
    np.testing.assert_allclose(one, forecaster.predict_mv(history_mv())[1], rtol=1e-5)


def test_only_the_context_is_used(forecaster: Forecaster):
    history = history_mv(40)
    np.testing.assert_array_equal(forecaster.predict_mv(history), forecaster.predict_mv(history[:, 10:]))


def test_shared_weights_forecast_any_channels_independently_of_the_calibration(forecaster: Forecaster):
    if forecaster.module.bound_to_channels:
        with pytest.raises(
            ForecasterError, match=r"7 channels.* 4 ", check=lambda error: error.code == "channels-mismatched"
        ):
            forecaster.predict_mv(history_mv(n_channels=7))
        return
    voltage_mv = torch.from_numpy(history_mv(n_channels=7))
    forecasts_mv = []
    for mean, sd in ((-60.0, 5.0), (-40.0, 2.0)):
        mean_mv, sd_mv = torch.full((3, 7), mean), torch.full((3, 7), sd)
        history_z = (voltage_mv - mean_mv[:, None]) / sd_mv[:, None]
        forecasts_mv.append(forecaster.predict_z(history_z, mean_mv, sd_mv) * sd_mv[:, None] + mean_mv[:, None])
    np.testing.assert_allclose(forecasts_mv[0], forecasts_mv[1], atol=0.1)


def test_forecasts_in_mv_and_in_z_units_agree(autoregression: Forecaster, ar1_windows: WindowSet):
    config = autoregression.config
    mean_mv, sd_mv = torch.tensor([config.mean_mv]), torch.tensor([config.sd_mv])
    voltage_mv = torch.from_numpy(history_mv()[:1])
    forecast_z = autoregression.predict_z((voltage_mv - mean_mv) / sd_mv, mean_mv, sd_mv)
    np.testing.assert_allclose(
        autoregression.predict_mv(history_mv()[:1]), forecast_z * sd_mv[:, None] + mean_mv[:, None], rtol=1e-5
    )


def test_the_calibration_is_the_mean_over_training_recordings(autoregression: Forecaster, ar1_windows: WindowSet):
    training = [r.mean_mv[0] for r, split in zip(ar1_windows.recordings, "tttve", strict=True) if split == "t"]
    assert autoregression.config.mean_mv[0] == pytest.approx(sum(training) / 3)
    assert autoregression.config.organoids == ("slice",)


def test_a_history_that_is_too_short_is_refused(autoregression: Forecaster):
    with pytest.raises(
        ForecasterError, match=r"29 samples.* 30 \(30 ms\)", check=lambda error: error.code == "history-too-short"
    ):
        autoregression.predict_mv(history_mv(29))


def test_a_history_with_a_gap_is_refused(autoregression: Forecaster):
    history = history_mv()
    history[0, 3, 1] = np.nan
    with pytest.raises(ForecasterError, check=lambda error: error.code == "history-not-finite"):
        autoregression.predict_mv(history)


def test_a_horizon_without_targets_is_refused(write_window_set):
    flat = np.random.default_rng(0).normal(-60, 5, (100, 2)).astype(np.float32)
    windows = write_window_set([(Split.TRAIN, flat)], horizons_samples=(2, 3))
    with pytest.raises(
        ForecasterError, match=r"cnn_lstm .*\(1,\)", check=lambda error: error.code == "horizon-missing"
    ):
        Forecaster.unfitted("cnn_lstm", windows)


def _without_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()


def _cut_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:100])


def _other_weights(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    save_file(
        {"weights": weights["weights"][:2].contiguous(), "intercepts": weights["intercepts"]}, folder / WEIGHTS_FILE
    )


def _infinite_weights(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    weights["weights"][0, 0, 0] = torch.inf
    save_file(weights, folder / WEIGHTS_FILE)


def _broken_config(folder: Path) -> None:
    (folder / CONFIG_FILE).write_text("{")


def _unknown_architecture(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"architecture": "oracle"}))


def _unknown_setting(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"architecture_settings": {"n_legs": 20}}))


def _other_channels(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"channel_names": ["a"]}))


@pytest.mark.parametrize(
    ("damage", "code", "fact"),
    [
        (_without_weights, "forecaster-file-damaged", "weights.safetensors"),
        (_cut_weights, "forecaster-file-damaged", "weights.safetensors"),
        (_other_weights, "weights-mismatched", r"weights: .*\(2, 30, 3\).*\(4, 30, 3\)"),
        (_infinite_weights, "weights-not-finite", "weights.safetensors"),
        (_broken_config, "forecaster-file-damaged", "forecaster.json"),
        (_unknown_architecture, "architecture-unknown", "'oracle'.*persistence"),
        (_unknown_setting, "forecaster-settings-invalid", "forecaster.json"),
        (_other_channels, "calibration-mismatched", "4 means .* 1 channels"),
    ],
)
def test_a_damaged_forecaster_is_refused_with_the_file_and_the_reason(autoregression, tmp_path, damage, code, fact):
    autoregression.save(tmp_path / "saved")
    damage(tmp_path / "saved")
    with pytest.raises(ForecasterError, match=fact, check=lambda error: error.code == code):
        Forecaster.load(tmp_path / "saved")
