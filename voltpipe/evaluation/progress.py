"""How far an evaluation is, for whoever watches it."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class EvaluationProgress(Protocol):
    """Is told whenever a step is done."""

    def __call__(self, doing: str, done: int, total: int) -> None:
        """So many steps of a kind are done, of how many."""


def unwatched(doing: str, done: int, total: int) -> None:
    """Nobody watches."""
