"""Progress of an evaluation, for whoever watches it."""

from typing import Protocol, runtime_checkable


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
