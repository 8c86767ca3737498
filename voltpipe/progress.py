"""How a training tells the world where it stands, without knowing who listens."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class EpochRecord:
    """What is known after one epoch of training."""

    epoch: int
    """Counted from 1."""
    elapsed_s: float
    """Training time so far, over all resumptions."""
    train_loss: float
    """Mean squared error on training windows in z-units, averaged over the epoch."""
    validation_loss: float
    """The same on validation windows, without dropout or added noise."""
    validation_r2: dict[int, float]
    """R2 in mV by horizon (samples) on validation windows."""
    learning_rate: float
    """In the middle of the epoch."""
    windows_per_s: float
    remaining_s: float
    """An estimate of the training time that is left."""
    windows_seen: int = 0
    """Fewer than an epoch has, if the budget cut it off; 0 where that was not kept."""
    planned_epochs: int = 0
    """After how many epochs the training was expected to end, which its learning rate follows; 0 likewise."""


@runtime_checkable
class TrainingProgress(Protocol):
    """Listens to a training. An exception raised here stops the training; its last checkpoint stays."""

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Training begins, or goes on after `resumed_after_epoch` (0 for a fresh start)."""

    def epoch_finished(self, record: EpochRecord) -> None:
        """An epoch ended and its checkpoint is safe."""


@runtime_checkable
class EvaluationProgress(Protocol):
    """A listener that is told of every finished step."""

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Take note that `done` of `total` steps of a kind are finished."""


class _NoEvaluationProgress:
    """A listener that ignores all it is told."""

    def __call__(self, doing: str, done: int, total: int) -> None:
        """Do nothing."""


NO_EVALUATION_PROGRESS: EvaluationProgress = _NoEvaluationProgress()
