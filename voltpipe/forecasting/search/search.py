"""Searches for training settings, trial by trial, and goes on where it was stopped.

The validation loss decides, and nothing else is looked at: test windows stay unseen. What is known of the trials lies
in Optuna's journal, lines of JSON; each trial's training has its own checkpoints until it ends. What is tried next
follows from seed and journal alone, so that a search that was interrupted goes on as if it had not been.
"""

import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.module_registry import ARCHITECTURES
from voltpipe.forecasting.search.pruning import PrunedProgress, make_pruner
from voltpipe.forecasting.search.search_result import SearchResult, TrialOutcome, TrialResult
from voltpipe.forecasting.search.settings import LINEAR, SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.checkpoint import CheckpointError, TrainingError, hold_checkpoint_folder, read_state
from voltpipe.forecasting.training.train import train
from voltpipe.progress import EpochRecord, TrainingProgress
from voltpipe.windows.window_set import WindowSet


@runtime_checkable
class SearchProgress(Protocol):
    """Listens to a search."""

    def trial(self, number: int, settings: TrainingSettings) -> AbstractContextManager[TrainingProgress]:
        """A trial, counted from 0, begins or goes on; who listens to its training.

        The block is left by `optuna.TrialPruned` where the trial is given up, by `TrainingError` where it diverged.
        Whatever else it is left by ends the search; asked for again, the search goes on amid that trial.
        """


JOURNAL_FILE = "journal.jsonl"

_STUDY = "search"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_OUTCOMES = dict(zip(_ENDED, TrialOutcome, strict=True))
_FEWEST_TO_COMPARE = 4
"""Complete trials, for one to say which setting matters."""


class SearchError(VoltpipeError):
    """A search that found nothing."""


def search(window_set: WindowSet, settings: SearchSettings, *, folder: Path, progress: SearchProgress) -> SearchResult:
    """Search, or go on with the search in the folder. The first trial is the architecture's own recipe.

    A search that is complete is not repeated; with more trials or a larger budget it goes on.

    Args:
        window_set: trials are trained on its training windows and judged on its validation windows.
        settings: of the search and of its trials.
        folder: holds the journal and the checkpoints of the trial under way; belongs to one window set and one
            `settings.identity()`.
        progress: listens to the trials.

    Raises:
        SearchError: no trial was complete.
        LockHeldError: another process is searching in the folder.
        DeviceError, ForecasterError, TrainingDataError: as `train` does.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with hold_checkpoint_folder(folder):
        study = _study(folder, settings)
        _clear(study, folder)
        while trial := _next_trial(study, settings):
            _run(trial, window_set, settings, folder, progress)
            _clear(study, folder)
        return _result(study, settings)


def _study(folder: Path, settings: SearchSettings) -> optuna.Study:
    journal = folder / JOURNAL_FILE
    _repair(journal)
    study = optuna.create_study(
        study_name=_STUDY,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        pruner=make_pruner(settings),
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(_recipe_values(settings))
    return study


def _repair(journal: Path) -> None:
    """Take away what a killed process may have left: Optuna's lock, and the beginning of a line."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.exists():
        content = journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            journal.write_bytes(whole)


def _recipe_values(settings: SearchSettings) -> dict[str, int | float]:
    """The recipe's own values, but for those that are out of range."""
    recipe = ARCHITECTURES[settings.architecture].recipe
    values = {name: getattr(recipe, name) for name in settings.searched()}
    ranges = {name: getattr(settings, f"{name}_range") for name in values}
    return {name: value for name, value in values.items() if ranges[name][0] <= value <= ranges[name][1]}


def _next_trial(study: optuna.Study, settings: SearchSettings) -> optuna.Trial | None:
    for interrupted in study.get_trials(states=(TrialState.RUNNING,)):
        return optuna.Trial(study, interrupted._trial_id)
    ended = study.get_trials(states=_ENDED)
    spent_s = sum(trial.user_attrs["elapsed_s"] for trial in ended)
    if len(ended) >= settings.n_trials or spent_s + settings.budget_s > settings.search_budget_s:
        return None
    seed = int(np.random.SeedSequence((settings.seed, len(ended))).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    return study.ask()


def _run(
    trial: optuna.Trial, window_set: WindowSet, settings: SearchSettings, folder: Path, progress: SearchProgress
) -> None:
    chosen = settings.with_values({name: _value(trial, settings, name) for name in settings.searched()})
    checkpoints = _checkpoints(folder, trial.number)
    state = TrialState.COMPLETE
    try:
        with progress.trial(trial.number, chosen) as listener:
            pruned = PrunedProgress(listener, trial, chosen, _history(checkpoints))
            train(window_set, chosen, checkpoint_folder=checkpoints, progress=pruned)
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except TrainingError:
        state = TrialState.FAIL
    history = _history(checkpoints)
    losses = [record.validation_loss for record in history]
    trial.set_user_attr("epochs", len(history))
    trial.set_user_attr("elapsed_s", history[-1].elapsed_s if history else 0.0)
    trial.set_user_attr("validation_loss", min(losses, default=None))
    trial.study.tell(trial, min(losses) if state is TrialState.COMPLETE else None, state=state)


def _value(trial: optuna.Trial, settings: SearchSettings, name: str) -> int | float:
    low, high = getattr(settings, f"{name}_range")
    suggest: Any = trial.suggest_int if isinstance(low, int) else trial.suggest_float
    value: int | float = suggest(name, low, high, log=name not in LINEAR)
    return value


def _history(checkpoints: Path) -> tuple[EpochRecord, ...]:
    """The epochs of a trial so far."""
    if not checkpoints.exists():
        return ()
    try:
        return read_state(checkpoints).history
    except CheckpointError:  # killed, or diverged, within the first epoch
        return ()


def _checkpoints(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04d}"


def _clear(study: optuna.Study, folder: Path) -> None:
    """Remove the checkpoints of trials that ended: the journal has all that is still wanted of them."""
    for trial in study.get_trials(deepcopy=False, states=_ENDED):
        shutil.rmtree(_checkpoints(folder, trial.number), ignore_errors=True)


def _result(study: optuna.Study, settings: SearchSettings) -> SearchResult:
    trials = tuple(_trial_result(trial) for trial in study.get_trials(states=_ENDED))
    complete = [trial for trial in trials if trial.outcome is TrialOutcome.COMPLETE]
    if not complete:
        raise SearchError(
            f"none of {len(trials)} trials was complete, each diverged; search below a lower learning rate",
            code="no-trial-complete",
        )
    best = trials[study.best_trial.number]
    compared = len({trial.validation_loss for trial in complete}) >= _FEWEST_TO_COMPARE
    importance = optuna.importance.get_param_importances(study) if compared else {}
    return SearchResult(trials, best, settings.with_values(best.values), importance)


def _trial_result(trial: FrozenTrial) -> TrialResult:
    return TrialResult(number=trial.number, outcome=_OUTCOMES[trial.state], values=trial.params, **trial.user_attrs)
