"""Lagged regression hears other channels where validation says that it pays, and looks no sample ahead."""

import numpy as np
import pytest
import torch

from voltpipe.forecasting.baselines.lagged_regression import averages
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.splits import Split


@pytest.fixture
def fitted(write_window_set):
    """Fits one to a training, a validation and a test recording in mV."""

    def fit(train_mv, validation_mv, test_mv, name="windows"):
        splits = zip((Split.TRAIN, Split.VALIDATION, Split.TEST), (train_mv, validation_mv, test_mv), strict=True)
        window_set = write_window_set(list(splits), name)
        forecaster = Forecaster.unfitted("lagged_regression", window_set)
        forecaster.module.fit(window_set)
        return forecaster.module

    return fit


def driven_mv(seed, n_samples=6000):
    """Channel 1 follows what channel 0, white noise, did one sample before."""
    random = np.random.default_rng(seed)
    driver = random.normal(0, 5, n_samples + 1)
    follower = 0.5 * driver[:-1] + random.normal(0, 1, n_samples)
    return (np.stack([driver[1:], follower], 1) - 60).astype(np.float32)


def test_coupling_is_found_where_there_is_one(fitted):
    module = fitted(driven_mv(0), driven_mv(1), driven_mv(2))
    weights = module.coupling_weights.reshape(2, -1, 3, 2)  # (from, lags, horizon, to), the first lag being the present
    # 0.93 SD of the follower for one of the driver, of which half is taken.
    assert weights[0, 0, 0, 1] == pytest.approx(0.93 / 2, abs=0.03)
    assert weights[0, 0, 1:].abs().max() < 0.05


def test_there_is_no_coupling_where_validation_contradicts_it(fitted):
    backwards = driven_mv(1)[:, ::-1].copy()
    module = fitted(driven_mv(0), backwards, driven_mv(2))
    assert module.coupling_weights.reshape(2, -1, 3, 2)[:, :, 0].abs().max() < 0.02


def test_a_forecast_knows_nothing_of_later_samples_and_is_the_same_at_every_step(fitted):
    module = fitted(driven_mv(0), driven_mv(1), driven_mv(2))
    history_mv = torch.from_numpy(driven_mv(3, 80))[None]
    at_all_steps = module.expected_mv(history_mv, 40)
    assert at_all_steps.shape == (1, 40, 3, 2)
    at_one_step = module.expected_mv(history_mv[:, :51], 50)
    torch.testing.assert_close(at_all_steps[:, 10:11], at_one_step, atol=1e-4, rtol=0)


def test_test_samples_change_no_weight(fitted):
    one = fitted(driven_mv(0), driven_mv(1), driven_mv(2), "one").state_dict()
    other = fitted(driven_mv(0), driven_mv(1), 7 * driven_mv(3), "other").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_averages_are_those_of_each_range_of_lags_at_every_nth_sample():
    history = torch.arange(12.0)[None, :, None]
    found = averages(history, ((0, 1), (1, 2), (2, 4)), 5, step=3)
    # At samples 5, 8 and 11: the sample itself, the one before it, and the mean of the two before that.
    assert found[0, :, 0].tolist() == [[5, 4, 2.5], [8, 7, 5.5], [11, 10, 8.5]]
