"""Pruning of search trials by their learning curves."""

from collections.abc import Iterable, Sequence

import numpy.ma  # noqa: F401 - importing it during a training would warn of flushed denormals
import optuna

from voltpipe.forecasting.search.settings import Pruner, SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.progress import EpochRecord, TrainingProgress

WARM_UP_TENTHS = 2
"""Tenths of a trial before the median pruner may act: the first slope reflects only the learning rate."""


def loss_by_tenth(history: Sequence[EpochRecord], settings: TrainingSettings) -> dict[int, float]:
    """Return the lowest validation loss known at the end of each tenth of a trial (1 to 10).

    Epochs of different trials take different times, so trials are compared at equal shares of their time budget, or of
    `max_epochs` if that is reached sooner. Tenths before the end of the first epoch are absent.
    """
    curve: dict[int, float] = {}
    previous_tenth, lowest = 0, float("inf")
    for record in history:
        share_of_ten = max(10 * record.elapsed_s / settings.budget_s, 10 * record.epoch / settings.max_epochs)
        tenth = min(int(share_of_ten), 10)
        if record.epoch > 1:
            curve |= dict.fromkeys(range(previous_tenth + 1, tenth), lowest)
        lowest = min(lowest, record.validation_loss)
        if tenth > previous_tenth:
            curve[tenth] = lowest
        previous_tenth = max(previous_tenth, tenth)
    return curve


def make_pruner(settings: SearchSettings) -> optuna.pruners.BasePruner:
    """Create Optuna's pruner. Its steps are tenths of a trial."""
    if settings.pruner is Pruner.MEDIAN:
        return optuna.pruners.MedianPruner(settings.trials_before_pruning, n_warmup_steps=WARM_UP_TENTHS)
    if settings.pruner is Pruner.HALVING:
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.NopPruner()


class PrunedProgress:
    """Progress of a trial's training that stops the training when the pruner decides so.

    Args:
        listener: receives every call first.
        trial: Optuna's trial, which receives the validation loss after each tenth.
        settings: settings of the trial.
        history: epochs before the training was resumed; empty for a new training.
    """

    def __init__(
        self,
        listener: TrainingProgress,
        trial: optuna.Trial,
        settings: TrainingSettings,
        history: Iterable[EpochRecord],
    ) -> None:
        self._listener, self._trial, self._settings = listener, trial, settings
        self._history = list(history)
        self._reported = set(trial.study.trials[trial.number].intermediate_values)

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Forward the call to the listener."""
        self._listener.started(resumed_after_epoch=resumed_after_epoch, device=device, parameters=parameters)

    def epoch_finished(self, record: EpochRecord) -> None:
        """Forward the call to the listener, then report the loss to the pruner.

        Raises:
            optuna.TrialPruned: the trial is pruned.
        """
        self._listener.epoch_finished(record)
        self._history.append(record)
        for tenth, loss in loss_by_tenth(self._history, self._settings).items():
            if tenth not in self._reported:
                self._trial.report(loss, tenth)
                self._reported.add(tenth)
        # A complete trial keeps its result. A resumed trial repeats the decision on its last tenth.
        if max(self._reported, default=0) < 10 and self._trial.should_prune():
            raise optuna.TrialPruned(f"pruned after epoch {record.epoch}: validation loss {record.validation_loss:.4f}")
