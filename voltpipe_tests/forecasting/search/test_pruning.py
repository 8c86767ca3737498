"""Trials are compared at equal shares of their time, and the worse ones are pruned."""

import optuna
import pytest

from voltpipe.forecasting.search.pruning import PrunedProgress, loss_by_tenth, make_pruner
from voltpipe.forecasting.search.settings import Pruner, SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.progress import EpochRecord


def record(epoch: int, elapsed_s: float, validation_loss: float) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        elapsed_s=float(elapsed_s),
        train_loss=validation_loss,
        validation_loss=validation_loss,
        validation_r2={1: 0.5},
        learning_rate=1e-3,
        windows_per_s=100.0,
        remaining_s=0.0,
    )


class Ignore:
    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None: ...

    def epoch_finished(self, record: EpochRecord) -> None: ...


def test_each_tenth_of_the_budget_has_the_lowest_loss_known_then():
    settings = TrainingSettings(budget_s=100)
    history = [record(1, 8, 0.9), record(2, 12, 0.7), record(3, 35, 0.8), record(4, 61, 0.5), record(5, 104, 0.4)]
    # No epoch ended between 12 s and 30 s, and the one at 35 s was worse.
    expected = {1: 0.7, 2: 0.7, 3: 0.7, 4: 0.7, 5: 0.7, 6: 0.5, 7: 0.5, 8: 0.5, 9: 0.5, 10: 0.4}
    assert loss_by_tenth(history, settings) == expected


def test_tenths_before_the_end_of_the_first_epoch_are_absent():
    assert loss_by_tenth([record(1, 35, 0.9)], TrainingSettings(budget_s=100)) == {3: 0.9}


def test_epochs_count_if_max_epochs_is_reached_before_the_budget():
    settings = TrainingSettings(budget_s=100, max_epochs=2)
    assert loss_by_tenth([record(1, 0.1, 0.9), record(2, 0.2, 0.8)], settings) == dict.fromkeys(range(5, 10), 0.9) | {
        10: 0.8
    }


def train(study: optuna.Study, losses: list[float]) -> int:
    """Train one tenth of the budget an epoch; return the number of epochs until pruning."""
    trial = study.ask()
    progress = PrunedProgress(Ignore(), trial, TrainingSettings(budget_s=100), ())
    for epoch, loss in enumerate(losses, 1):
        try:
            progress.epoch_finished(record(epoch, 10.0 * epoch, loss))
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return epoch
    study.tell(trial, min(losses))
    return len(losses)


@pytest.mark.parametrize(
    ("pruner", "bad_epochs"),
    [
        (Pruner.MEDIAN, 2),  # not applied after one tenth, which is warm-up
        (Pruner.HALVING, 1),
        (Pruner.NONE, 10),
    ],
)
def test_a_trial_above_the_others_is_pruned(pruner, bad_epochs):
    study = optuna.create_study(pruner=make_pruner(SearchSettings(pruner=pruner, trials_before_pruning=3)))
    for good in (0.50, 0.51, 0.52):
        train(study, [good] * 10)
    assert train(study, [0.9] * 10) == bad_epochs
    assert train(study, [0.4] * 10) == 10


def test_no_trial_is_pruned_before_enough_trials_are_complete():
    study = optuna.create_study(pruner=make_pruner(SearchSettings(trials_before_pruning=2)))
    train(study, [0.5] * 10)
    assert train(study, [0.9] * 10) == 10
    assert train(study, [0.9] * 10) < 10
