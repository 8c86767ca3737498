"""The result of a hyperparameter search."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from voltpipe.forecasting.settings import TrainingSettings


class TrialOutcome(StrEnum):
    """Outcome of a trial."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    """The loss or gradient was not finite."""


@dataclass(frozen=True)
class TrialResult:
    """Settings, validation loss and outcome of one trial."""

    number: int
    outcome: TrialOutcome
    values: Mapping[str, int | float]
    """Values of the searched settings."""
    validation_loss: float | None
    """Lowest validation loss, in z-units squared; None if no epoch was completed."""
    epochs: int
    elapsed_s: float


@dataclass(frozen=True)
class SearchResult:
    """All trials, and the settings of the best one."""

    trials: tuple[TrialResult, ...]
    best: TrialResult
    settings: TrainingSettings
    importance: Mapping[str, float]
    """Share of the variance of the loss that each searched setting explains (fANOVA); empty with few trials."""

    def facts(self) -> dict[str, int | float]:
        """Return all single values by name."""
        counts = {f"{kind.value} trials": sum(trial.outcome is kind for trial in self.trials) for kind in TrialOutcome}
        assert self.best.validation_loss is not None
        return {
            "best validation loss": self.best.validation_loss,
            "best trial": self.best.number,
            **counts,
            "elapsed_s": sum(trial.elapsed_s for trial in self.trials),
        }

    def table(self) -> str:
        """Return the trials as a Markdown table: the best first, incomplete ones last."""
        names = list(self.best.values)
        header = ["trial", "outcome", "validation loss", "epochs", "s", *names]
        rows = [
            [
                str(trial.number),
                trial.outcome.value,
                "" if trial.validation_loss is None else f"{trial.validation_loss:.5f}",
                str(trial.epochs),
                f"{trial.elapsed_s:.0f}",
                *(f"{trial.values[name]:.3g}" for name in names),
            ]
            for trial in sorted(self.trials, key=_rank)
        ]
        return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def _rank(trial: TrialResult) -> tuple[bool, float]:
    loss = float("inf") if trial.validation_loss is None else trial.validation_loss
    return trial.outcome is not TrialOutcome.COMPLETE, loss
