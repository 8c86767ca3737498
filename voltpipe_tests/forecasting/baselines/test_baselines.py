"""Each baseline recovers the structure of a known process, from training rows only."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from voltpipe.forecasting.training.fitting import fit_baselines
from voltpipe.windows.split_segments import TrainingDataError, training_segments
from voltpipe.windows.splits import Split

PHI, MEAN_MV = 0.8, -60.0


@pytest.fixture
def baselines(write_window_set, ar1_mv):
    return fit_baselines(write_window_set([(Split.TRAIN, ar1_mv(0, 20_000, 2))]))


def constant_history_mv(voltage_mv: float) -> np.ndarray:
    return np.full((30, 2), voltage_mv, np.float32)


def test_persistence_repeats_the_last_sample(baselines):
    history = np.arange(60, dtype=np.float32).reshape(30, 2)
    assert_allclose(baselines["persistence"].predict_mv(history), [[58, 59]] * 3, rtol=1e-6)


def test_autoregression_recovers_an_ar1_process(baselines):
    weights = baselines["autoregression"].module.weights  # (channel, lag, horizon), horizons 1, 2 and 5
    assert_allclose(weights[:, -1], [[PHI, PHI**2, PHI**5]] * 2, atol=0.03)
    assert_allclose(weights[:, :-1], 0, atol=0.05)


def test_lookup_table_forecasts_the_conditional_mean(baselines):
    for deviation_mv in (-6, 0, 6):
        expected_mv = [[MEAN_MV + deviation_mv * PHI**horizon] * 2 for horizon in (1, 2, 5)]
        forecast_mv = baselines["look_up"].predict_mv(constant_history_mv(MEAN_MV + deviation_mv))
        assert_allclose(forecast_mv, expected_mv, atol=0.8)


def test_lookup_table_has_a_bin_for_the_reset_alone(write_window_set):
    # A sawtooth: two of twelve samples at -70 mV, then 2 mV more each sample, starting at -69.9 mV.
    cycle_mv = np.r_[-70.0, -70.0, -69.9 + 2 * np.arange(10)].astype(np.float32)
    look_up = fit_baselines(write_window_set([(Split.TRAIN, np.tile(cycle_mv, 200)[:, None].repeat(2, 1))]))["look_up"]
    assert_allclose(look_up.predict_mv(constant_history_mv(-70.0))[0], (-70.0 - 69.9) / 2, atol=0.01)
    assert_allclose(look_up.predict_mv(constant_history_mv(-69.9))[0], -67.9, atol=0.01)


def test_vector_autoregression_recovers_the_connection_between_channels(write_window_set):
    # Channel 1 follows channel 0, which is white noise, with a delay of one sample.
    driver = np.random.default_rng(0).normal(0, 5, 20_001)
    follower = 0.5 * np.r_[0, driver[:-1]] + np.random.default_rng(1).normal(0, 1, 20_001)
    voltage_mv = (np.stack([driver, follower], 1) + MEAN_MV).astype(np.float32)
    module = fit_baselines(write_window_set([(Split.TRAIN, voltage_mv)]))["vector_autoregression"].module
    weights = module.weights.reshape(8, 2, 3, 2)  # (lag, sender, horizon, receiver); the last lag is the present
    gain_z = 0.5 * driver.std() / follower.std()
    assert weights[-1, 0, 0, 1] == pytest.approx(gain_z, abs=0.01)
    others = weights.clone()
    others[-1, 0, 0, 1] = 0
    assert others.abs().max() < 0.08


def test_held_out_samples_do_not_change_coefficients(write_window_set, ar1_mv):
    def coefficients(held_out_mv, name):
        splits = [(Split.TRAIN, ar1_mv(0, 500))] + [(split, held_out_mv) for split in (Split.TEST, Split.TIME)]
        fitted = fit_baselines(write_window_set(splits, name))
        return [tensor for f in fitted.values() for tensor in f.module.state_dict().values()]

    one, other = coefficients(ar1_mv(1, 500), "one"), coefficients(7 * ar1_mv(2, 500), "other")
    assert len(one) == 6
    assert all(map(torch.equal, one, other))


def test_each_training_row_is_fitted_once_and_never_across_recordings(write_window_set, ar1_mv):
    recordings = [(Split.TRAIN, ar1_mv(0, 5000)), (Split.TEST, ar1_mv(1, 100)), (Split.TRAIN, ar1_mv(2, 40))]
    windows = write_window_set(recordings)
    segments = list(training_segments(windows, n_before=3, n_after=5))
    assert [len(segment.samples_z) for segment in segments] == [4096 + 8, 5000 - 4096, 40]
    assert torch.equal(segments[2].samples_z, windows.samples_z[5100:])
    assert_allclose(segments[2].samples_mv(), recordings[2][1], atol=1e-3)


def test_too_little_data_is_refused(write_window_set, ar1_mv):
    with pytest.raises(
        TrainingDataError, match="34 samples", check=lambda error: error.code == "training-rows-too-few"
    ):
        fit_baselines(write_window_set([(Split.TRAIN, ar1_mv(0, 5)), (Split.TEST, ar1_mv(0, 100))]))
