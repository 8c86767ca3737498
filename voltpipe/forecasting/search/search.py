"""Hyperparameter search over training settings, trial by trial, resumable at any point.

Only the validation loss decides; test windows are not read. Optuna's journal (lines of JSON) stores the trials, and
each trial's training has its own checkpoints until it ends. The next trial follows from seed and journal alone, so an
interrupted search resumes as if it had never stopped.
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
    """Progress of a search."""

    def trial(self, number: int, settings: TrainingSettings) -> AbstractContextManager[TrainingProgress]:
        """Yield the progress of a trial, counted from 0, which begins or is resumed.

        The block raises `optuna.TrialPruned` if the trial is pruned, and `TrainingError` if it diverges. Any other
        exception ends the search, which then resumes within that trial when it is started again.
        """


JOURNAL_FILE = "journal.jsonl"

_STUDY = "search"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_OUTCOMES = dict(zip(_ENDED, TrialOutcome, strict=True))
_MIN_TRIALS_FOR_IMPORTANCE = 4
"""Number of complete trials with different losses needed to estimate the importance of settings."""


class SearchError(VoltpipeError):
    """The search found no settings."""


def search(window_set: WindowSet, settings: SearchSettings, *, folder: Path, progress: SearchProgress) -> SearchResult:
    """Search for training settings, or resume the search in the folder. The first trial is the architecture's recipe.

    A complete search is not repeated. With more trials or a larger budget it continues.

    Args:
        window_set: trials are trained on its training windows and compared on its validation windows.
        settings: settings of the search and its trials.
        folder: contains the journal and the checkpoints of the current trial. Belongs to one window set and one
            `settings.identity()`.
        progress: is called for each trial.

    Raises:
        SearchError: no trial was completed.
        LockHeldError: another process is searching in the folder.
        DeviceError, ForecasterError, TrainingDataError: raised by `train`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with hold_checkpoint_folder(folder):
        study = _open_study(folder, settings)
        _delete_checkpoints(study, folder)
        while trial := _next_trial(study, settings):
            _run_trial(trial, window_set, settings, folder, progress)
            _delete_checkpoints(study, folder)
        return _result(study, settings)


def _open_study(folder: Path, settings: SearchSettings) -> optuna.Study:
    journal = folder / JOURNAL_FILE
    _repair_journal(journal)
    study = optuna.create_study(
        study_name=_STUDY,
        storage=JournalStorage(JournalFileBackend(str(journal))),
        pruner=make_pruner(settings),
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(_recipe_values(settings))
    return study


def _repair_journal(journal: Path) -> None:
    """Remove what a killed process may leave: Optuna's lock, and an incomplete last line."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.exists():
        content = journal.read_bytes()
        complete = content[: content.rfind(b"\n") + 1]
        if complete != content:
            journal.write_bytes(complete)


def _recipe_values(settings: SearchSettings) -> dict[str, int | float]:
    """Return the recipe's values of the searched settings, without those out of range."""
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


def _run_trial(
    trial: optuna.Trial, window_set: WindowSet, settings: SearchSettings, folder: Path, progress: SearchProgress
) -> None:
    chosen = settings.with_values({name: _suggest(trial, settings, name) for name in settings.searched()})
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


def _suggest(trial: optuna.Trial, settings: SearchSettings, name: str) -> int | float:
    low, high = getattr(settings, f"{name}_range")
    suggest: Any = trial.suggest_int if isinstance(low, int) else trial.suggest_float
    value: int | float = suggest(name, low, high, log=name not in LINEAR)
    return value


def _history(checkpoints: Path) -> tuple[EpochRecord, ...]:
    if not checkpoints.exists():
        return ()
    try:
        return read_state(checkpoints).history
    except CheckpointError:  # it was killed or diverged in the first epoch
        return ()


def _checkpoints(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04d}"


def _delete_checkpoints(study: optuna.Study, folder: Path) -> None:
    """Delete the checkpoints of ended trials; their results are in the journal."""
    for trial in study.get_trials(deepcopy=False, states=_ENDED):
        shutil.rmtree(_checkpoints(folder, trial.number), ignore_errors=True)


def _result(study: optuna.Study, settings: SearchSettings) -> SearchResult:
    trials = tuple(_trial_result(trial) for trial in study.get_trials(states=_ENDED))
    complete = [trial for trial in trials if trial.outcome is TrialOutcome.COMPLETE]
    if not complete:
        raise SearchError(
            f"All of {len(trials)} trials diverged. Lower the upper end of learning_rate_range.",
            code="no-trial-complete",
        )
    best = trials[study.best_trial.number]
    compared = len({trial.validation_loss for trial in complete}) >= _MIN_TRIALS_FOR_IMPORTANCE
    importance = optuna.importance.get_param_importances(study) if compared else {}
    return SearchResult(trials, best, settings.with_values(best.values), importance)


def _trial_result(trial: FrozenTrial) -> TrialResult:
    return TrialResult(number=trial.number, outcome=_OUTCOMES[trial.state], values=trial.params, **trial.user_attrs)
