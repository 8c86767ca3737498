"""The learning rate depends only on the recipe, the progress and the losses so far."""

import pytest

from voltpipe.forecasting.architectures.lstm import CnnLstm
from voltpipe.forecasting.optimizer_recipe import Decay, Recipe, learning_rate
from voltpipe.forecasting.settings import TrainingSettings

RECIPE = Recipe(
    windows_per_epoch=100,
    batch_size=10,
    learning_rate=1e-2,
    weight_decay=0.0,
    noise_mv=0.0,
    early_stopping_epochs=5,
    warm_up_epochs=2.0,
    warm_up_from=2e-3,
)


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0, 2e-3), (1, 6e-3), (2, 1e-2), (4, 1e-2 * 0.853553), (6, 5e-3), (10, 0), (11, 0)],
)
def test_warm_up_rises_and_the_cosine_falls_to_zero_at_the_planned_end(progress, expected):
    rate = learning_rate(RECIPE, progress=float(progress), planned_epochs=10, losses=[])
    assert rate == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("losses", "reductions"),
    [
        ([9, 8, 3, 2, 1], 0),
        ([9, 8, 3, 3, 3, 3], 0),  # three epochs without a new best are within the patience
        ([9, 8, 3, 3, 3, 3, 3], 1),
        ([9, 8, 3, 3, 3, 3, 3, 2, 2, 2, 2], 1),
        ([9, 8, 3] + [3] * 8, 2),
        ([1, 1, 3, 3, 3, 3, 2], 0),  # losses during warm-up do not count
    ],
)
def test_a_plateau_of_more_than_three_epochs_lowers_the_rate_by_the_factor(losses, reductions):
    recipe = Recipe(**vars(RECIPE) | {"decay": Decay.PLATEAU})
    rate = learning_rate(recipe, progress=float(len(losses)), planned_epochs=100, losses=[float(x) for x in losses])
    assert rate == pytest.approx(1e-2 * 0.7**reductions)


def test_cnn_lstm_has_the_published_recipe():
    published = TrainingSettings().adjust(CnnLstm.recipe)
    assert (published.learning_rate, published.weight_decay, published.batch_size) == (3e-3, 1e-4, 32)
    assert (published.warm_up_epochs, published.warm_up_from) == (5, 5e-6)
    assert (published.decay, published.plateau_patience, published.plateau_factor) == (Decay.PLATEAU, 3, 0.7)
    assert (published.clip_norm, published.early_stopping_epochs, published.noise_mv) == (1.0, 20, 0.2)


def test_settings_override_the_recipe():
    adjusted = TrainingSettings(noise_mv=0.0, batch_size=7).adjust(CnnLstm.recipe)
    assert (adjusted.noise_mv, adjusted.batch_size, adjusted.learning_rate) == (0.0, 7, 3e-3)
