"""Gives a trial up by its learning curve."""

from collections.abc import Iterable, Sequence

import numpy.ma  # noqa: F401 - the pruner needs it amid a training, where it would warn of denormals that are flushed
import optuna

from voltpipe.forecasting.search.settings import Pruner, SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.progress import EpochRecord, TrainingProgress

WARM_UP_TENTHS = 2
"""The median is not asked before: how steeply the loss falls at first tells of the learning rate only."""


def loss_by_tenth(history: Sequence[EpochRecord], settings: TrainingSettings) -> dict[int, float]:
    """The lowest validation loss that was known when each tenth of a trial (1 to 10) was over.

    Trials differ in how long an epoch takes, so they are compared at equal shares of their time (or of their epochs, if
    these end sooner). Tenths before the end of the first epoch are absent.
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
    """Optuna's pruner; its steps are tenths of a trial."""
    if settings.pruner is Pruner.MEDIAN:
        return optuna.pruners.MedianPruner(settings.trials_before_pruning, n_warmup_steps=WARM_UP_TENTHS)
    if settings.pruner is Pruner.HALVING:
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    return optuna.pruners.NopPruner()


class PrunedProgress:
    """Listens to a trial's training, and ends it once the pruner says so.

    Args:
        listener: is told first.
        trial: Optuna's; is told the validation loss after each tenth.
        settings: the trial's.
        history: the epochs before the training went on, if it did.
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
        """Pass it on."""
        self._listener.started(resumed_after_epoch=resumed_after_epoch, device=device, parameters=parameters)

    def epoch_finished(self, record: EpochRecord) -> None:
        """Pass it on, then judge.

        Raises:
            optuna.TrialPruned: the trial is given up.
        """
        self._listener.epoch_finished(record)
        self._history.append(record)
        for tenth, loss in loss_by_tenth(self._history, self._settings).items():
            if tenth not in self._reported:
                self._trial.report(loss, tenth)
                self._reported.add(tenth)
        # A trial at its end has its result; and a tenth that was judged before is judged alike again.
        if max(self._reported, default=0) < 10 and self._trial.should_prune():
            raise optuna.TrialPruned(
                f"given up after epoch {record.epoch}: validation loss {record.validation_loss:.4f}"
            )
