"""How a search tells the world where it stands, without knowing who listens."""

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from voltpipe.forecasting.progress import Progress
from voltpipe.forecasting.settings import TrainingSettings


@runtime_checkable
class SearchProgress(Protocol):
    """Listens to a search."""

    def trial(self, number: int, settings: TrainingSettings) -> AbstractContextManager[Progress]:
        """A trial, counted from 0, begins or goes on; who listens to its training.

        The block is left by `optuna.TrialPruned` where the trial is given up, by `TrainingError` where it diverged.
        Whatever else it is left by ends the search; asked for again, the search goes on amid that trial.
        """
