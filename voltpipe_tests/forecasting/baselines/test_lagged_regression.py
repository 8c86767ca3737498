"""The lagged regression uses other channels only if that lowers the validation error, and never later samples."""

import numpy as np
import pytest
import torch

from voltpipe.forecasting.baselines.lagged_regression import averages
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.splits import Split


@pytest.fixture
def fitted(write_window_set):
    """A function that fits a lagged regression to training, validation and test recordings in mV."""

    def fit(train_mv, validation_mv, test_mv, name="windows"):
        splits = zip((Split.TRAIN, Split.VALIDATION, Split.TEST), (train_mv, validation_mv, test_mv), strict=True)
        window_set = write_window_set(list(splits), name)
        forecaster = Forecaster.unfitted("lagged_regression", window_set)
        forecaster.module.fit(window_set)
        return forecaster.module

    return fit


def driven_mv(seed, n_samples=6000):
    """Simulate channel 1 as following channel 0, which is white noise, with a delay of one sample."""
    random = np.random.default_rng(seed)
    driver = random.normal(0, 5, n_samples + 1)
    follower = 0.5 * driver[:-1] + random.normal(0, 1, n_samples)
    return (np.stack([driver[1:], follower], 1) - 60).astype(np.float32)


def test_coupling_is_recovered(fitted):
    module = fitted(driven_mv(0), driven_mv(1), driven_mv(2))
    weights = module.coupling_weights.reshape(
        2, -1, 3, 2
    )  # (sender, lag, horizon, receiver); the first lag is the present
    # The slope is 0.93 in SDs of follower and driver, scaled by the maximum share of a half.
    assert weights[0, 0, 0, 1] == pytest.approx(0.93 / 2, abs=0.03)
    assert weights[0, 0, 1:].abs().max() < 0.05


def test_coupling_is_dropped_if_validation_contradicts_it(fitted):
    backwards = driven_mv(1)[:, ::-1].copy()
    module = fitted(driven_mv(0), backwards, driven_mv(2))
    assert module.coupling_weights.reshape(2, -1, 3, 2)[:, :, 0].abs().max() < 0.02


def test_forecasts_at_every_step_equal_those_without_later_samples(fitted):
    module = fitted(driven_mv(0), driven_mv(1), driven_mv(2))
    history_mv = torch.from_numpy(driven_mv(3, 80))[None]
    at_all_steps = module.expected_mv(history_mv, 40)
    assert at_all_steps.shape == (1, 40, 3, 2)
    at_one_step = module.expected_mv(history_mv[:, :51], 50)
    torch.testing.assert_close(at_all_steps[:, 10:11], at_one_step, atol=1e-4, rtol=0)


def test_test_samples_do_not_change_weights(fitted):
    one = fitted(driven_mv(0), driven_mv(1), driven_mv(2), "one").state_dict()
    other = fitted(driven_mv(0), driven_mv(1), 7 * driven_mv(3), "other").state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_averages_cover_each_range_of_lags_at_every_nth_sample():
    history = torch.arange(12.0)[None, :, None]
    found = averages(history, ((0, 1), (1, 2), (2, 4)), 5, step=3)
    # At samples 5, 8 and 11: the sample itself, the one before it, and the mean of the two before that.
    assert found[0, :, 0].tolist() == [[5, 4, 2.5], [8, 7, 5.5], [11, 10, 8.5]]
