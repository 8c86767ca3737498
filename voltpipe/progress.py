"""Progress of trainings and evaluations: the record of an epoch, and the interfaces of listeners."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class EpochRecord:
    """Losses, scores and times of one epoch of training."""

    epoch: int
    """Number of the epoch, from 1."""
    elapsed_s: float
    """Training time so far, including the time before resumptions."""
    train_loss: float
    """Mean squared error on training windows in squared z-units, averaged over the epoch."""
    validation_loss: float
    """Mean squared error on validation windows in squared z-units, without dropout or added noise."""
    validation_r2: dict[int, float]
    """R2 in mV by horizon (samples) on validation windows."""
    learning_rate: float
    """Learning rate in the middle of the epoch."""
    windows_per_s: float
    remaining_s: float
    """Estimate of the remaining training time."""
    windows_seen: int = 0
    """Windows trained on; fewer than a full epoch if the budget ended it, and 0 in records that lack the number."""
    planned_epochs: int = 0
    """Expected number of epochs, which sets the learning-rate schedule; 0 in records that lack the number."""


@runtime_checkable
class TrainingProgress(Protocol):
    """A listener to a training. An exception raised here stops the training, and the last checkpoint is kept."""

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Note that training starts, or resumes after epoch `resumed_after_epoch` (0 for a new training)."""

    def epoch_finished(self, record: EpochRecord) -> None:
        """Note that an epoch has ended and its checkpoint is written."""


@runtime_checkable
class EvaluationProgress(Protocol):
    """A listener to an evaluation, called after every step."""

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Note that `done` of `total` steps of the kind `doing` are finished."""


class _NoTrainingProgress:
    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        pass

    def epoch_finished(self, record: EpochRecord) -> None:
        pass


class _NoEvaluationProgress:
    def __call__(self, doing: str, done: int, total: int) -> None:
        pass


NO_TRAINING_PROGRESS: TrainingProgress = _NoTrainingProgress()
"""A listener that ignores a training."""

NO_EVALUATION_PROGRESS: EvaluationProgress = _NoEvaluationProgress()
"""A listener that ignores an evaluation."""
