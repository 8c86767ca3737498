"""Scores worked out by hand."""

import numpy as np
import pytest
import torch

from voltpipe.evaluation.evaluation import EvaluationError
from voltpipe.evaluation.scores import ErrorSums


def sums_of(forecast_mv, truth_mv, train_mean_mv):
    """One horizon, one row a window, one column a channel."""
    sums = ErrorSums(1, torch.tensor(train_mean_mv))
    sums.add(torch.tensor(forecast_mv)[:, None], torch.tensor(truth_mv)[:, None])
    return sums


def test_scores_of_two_windows_of_two_channels_are_those_worked_by_hand():
    sums = sums_of([[-69.0, -60.0], [-70.0, -62.0]], [[-70.0, -60.0], [-68.0, -64.0]], [-69.0, -62.0])

    # errors 1, -2 and 0, 2; deviations from the training mean -1, 1 and 2, -2
    assert sums.r2() == pytest.approx([1 - 9 / 10])
    assert sums.r2_by_channel()[0] == pytest.approx([1 - 5 / 2, 1 - 4 / 8])
    assert sums.rmse_mv() == pytest.approx([1.5])
    assert sums.mae_mv() == pytest.approx([5 / 4])
    assert sums.n_targets == 4


def test_a_perfect_forecast_scores_1():
    truth_mv = [[-70.0, -55.0], [-51.0, -62.0]]

    assert sums_of(truth_mv, truth_mv, [-60.0, -60.0]).r2() == [1.0]


def test_the_training_mean_scores_0_even_where_the_held_out_mean_differs():
    assert sums_of([[-60.0], [-60.0]], [[-50.0], [-52.0]], [-60.0]).r2() == [0.0]


def test_batches_add_up_to_the_whole():
    generator = torch.Generator().manual_seed(1)
    forecast_mv, truth_mv = torch.randn(2, 30, 2, 3, generator=generator)
    whole, parts = ErrorSums(2, torch.zeros(3)), ErrorSums(2, torch.zeros(3))

    whole.add(forecast_mv, truth_mv)
    for part in range(3):
        parts.add(forecast_mv[part::3], truth_mv[part::3])

    assert parts.r2() == pytest.approx(whole.r2(), rel=1e-12)
    assert parts.mae_mv() == pytest.approx(whole.mae_mv(), rel=1e-12)
    assert parts.n_targets == whole.n_targets == 90


def test_many_small_errors_are_not_lost_beside_a_large_sum():
    sums = ErrorSums(1, torch.zeros(1))
    sums.add(torch.full((1, 1, 1), 1e4), torch.zeros(1, 1, 1))
    for _ in range(100):
        sums.add(torch.full((1, 1, 1), 0.5), torch.zeros(1, 1, 1))

    assert sums.rmse_mv() == pytest.approx([np.sqrt((1e8 + 25) / 101)], rel=1e-12)


def test_a_channel_that_stays_at_its_training_mean_has_no_r2_of_its_own():
    sums = sums_of([[0.0, 1.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 3.0]], [0.0, 0.0])

    assert np.isnan(sums.r2_by_channel()[0, 0])
    assert sums.r2() == pytest.approx([1 - 1 / 10])


def test_a_forecast_that_is_not_finite_is_refused():
    with pytest.raises(EvaluationError, check=lambda error: error.code == "forecast-not-finite"):
        sums_of([[float("nan")], [0.0]], [[1.0], [2.0]], [0.0]).r2()


def test_targets_that_never_vary_are_refused():
    with pytest.raises(EvaluationError, check=lambda error: error.code == "targets-constant"):
        sums_of([[1.0], [2.0]], [[0.0], [0.0]], [0.0]).r2()
