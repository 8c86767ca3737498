"""A search selects settings by validation loss alone, prunes bad trials, and resumes where it was stopped."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from voltpipe.forecasting.search.search import JOURNAL_FILE, SearchError, search
from voltpipe.forecasting.search.search_result import TrialOutcome
from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.forecasting.training.checkpoint import hold_checkpoint_folder
from voltpipe.lake.locks import LockHeldError
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import SAMPLES_FILE, WindowSet

QUICK = {
    "architecture": "shared_cnn_lstm",
    "max_epochs": 4,
    "windows_per_epoch": 48,
    "budget_s": 600.0,
    "weight_decay": 0.0,
    "noise_mv": 0.0,
    "precision": "float32",
    "device": "cpu",
}


class Listener:
    """Record the epochs of each trial, and raise after `stop_after` epochs in total."""

    def __init__(self, stop_after: int = 1_000_000) -> None:
        self.stop_after = stop_after
        self.epochs: dict[int, list[int]] = {}

    @contextmanager
    def trial(self, number, settings) -> Iterator["Listener"]:
        self.current = self.epochs.setdefault(number, [])
        yield self

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        self.resumed_after_epoch = resumed_after_epoch

    def epoch_finished(self, record) -> None:
        self.current.append(record.epoch)
        if sum(map(len, self.epochs.values())) == self.stop_after:
            raise InterruptedError


def run(window_set, folder: Path, listener: Listener | None = None, **settings):
    settings = SearchSettings(**QUICK | {"n_trials": 3} | settings)
    return search(window_set, settings, folder=folder, progress=listener or Listener())


def outcomes(result) -> list[tuple]:
    return [(trial.outcome, dict(trial.values), trial.validation_loss, trial.epochs) for trial in result.trials]


@pytest.fixture(scope="module")
def uninterrupted(slow_to_make, ar1_windows, tmp_path_factory):
    return run(ar1_windows, tmp_path_factory.mktemp("search") / "search")


@pytest.mark.slow
def test_the_first_trial_is_the_recipe_and_the_best_is_found(uninterrupted):
    first, *others = uninterrupted.trials
    assert first.values == {"learning_rate": 4e-3, "batch_size": 16}
    assert all(3e-4 <= trial.values["learning_rate"] <= 3e-2 for trial in others)
    assert uninterrupted.best.validation_loss == min(trial.validation_loss for trial in uninterrupted.trials)
    assert uninterrupted.settings.learning_rate == uninterrupted.best.values["learning_rate"]
    assert uninterrupted.settings.windows_per_epoch == 48
    assert uninterrupted.facts()["complete trials"] == 3
    best_row = uninterrupted.table().splitlines()[2]
    assert best_row.startswith(f"| {uninterrupted.best.number} | complete | {uninterrupted.best.validation_loss:.5f}")


@pytest.mark.slow
def test_test_recordings_do_not_influence_the_search(write_window_set, ar1_mv, tmp_path):
    roles = [Split.TRAIN, Split.TRAIN, Split.VALIDATION]
    seen = [(split, ar1_mv(seed)) for seed, split in enumerate(roles)]
    unseen_mv = ar1_mv(9)
    one = run(write_window_set([*seen, (Split.TEST, unseen_mv)], "one"), tmp_path / "search_one")
    other_windows = write_window_set([*seen, (Split.TEST, np.flip(unseen_mv, 0) ** 2)], "other")
    assert outcomes(run(other_windows, tmp_path / "search_other")) == outcomes(one)


@pytest.mark.slow
def test_the_journal_is_json_and_no_checkpoint_is_left(ar1_windows, tmp_path):
    run(ar1_windows, tmp_path / "search", n_trials=2)
    for line in (tmp_path / "search" / JOURNAL_FILE).read_text().splitlines():
        assert isinstance(json.loads(line), dict)
    assert sorted(path.name for path in (tmp_path / "search").iterdir()) == [JOURNAL_FILE, "lock"]


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [2, 6])
def test_an_interrupted_search_resumes_within_the_trial_to_the_same_result(
    ar1_windows, uninterrupted, tmp_path, stop_after
):
    folder = tmp_path / "search"
    with pytest.raises(InterruptedError):
        run(ar1_windows, folder, Listener(stop_after))
    with (folder / JOURNAL_FILE).open("ab") as journal:
        journal.write(b'{"op_code":6,"wor')  # as after a kill while writing a line
    (folder / f"{JOURNAL_FILE}.lock").symlink_to(folder / JOURNAL_FILE)
    again = Listener()
    result = run(ar1_windows, folder, again)
    assert outcomes(result) == outcomes(uninterrupted)
    interrupted_trial, epochs_done = divmod(stop_after, QUICK["max_epochs"])
    assert again.epochs[interrupted_trial] == list(range(epochs_done + 1, QUICK["max_epochs"] + 1))
    assert set(again.epochs) == set(range(interrupted_trial, 3))


@pytest.mark.slow
def test_a_complete_search_is_not_repeated_but_continues_with_more_trials(ar1_windows, tmp_path):
    run(ar1_windows, tmp_path / "search", n_trials=2)
    again, more = Listener(), Listener()
    assert len(run(ar1_windows, tmp_path / "search", again, n_trials=2).trials) == 2
    assert again.epochs == {}
    assert len(run(ar1_windows, tmp_path / "search", more, n_trials=3).trials) == 3
    assert set(more.epochs) == {2}


def test_no_trial_starts_that_could_exceed_the_budget(ar1_windows, tmp_path):
    # After the first trial, less than 600 s are left.
    result = run(ar1_windows, tmp_path / "search", search_budget_s=600.0)
    assert len(result.trials) == 1


def test_a_trial_that_learns_nothing_is_pruned(ar1_windows, tmp_path):
    # The recipe's learning rate, tried first, is the lower end of the range. Almost all of the range is far too high.
    hopeless = {"batch_size": 16, "learning_rate_range": (4e-3, 1.0)}
    result = run(ar1_windows, tmp_path / "search", n_trials=2, trials_before_pruning=1, **hopeless)
    assert [trial.outcome for trial in result.trials] == [TrialOutcome.COMPLETE, TrialOutcome.PRUNED]
    assert result.trials[1].epochs < QUICK["max_epochs"]
    assert result.best.number == 0


def test_a_search_whose_trials_all_diverge_is_an_error(write_window_set, ar1_mv, tmp_path):
    roles = [(split, ar1_mv(seed)) for seed, split in enumerate(Split)]
    folder = write_window_set(roles).folder
    np.save(folder / SAMPLES_FILE, np.full_like(np.load(folder / SAMPLES_FILE), np.nan))
    with pytest.raises(SearchError, match="2 trials", check=lambda error: error.code == "no-trial-complete"):
        run(WindowSet(folder), tmp_path / "search", n_trials=2)


def test_only_one_process_searches_at_a_time(ar1_windows, tmp_path):
    with hold_checkpoint_folder(tmp_path / "search"), pytest.raises(LockHeldError):
        run(ar1_windows, tmp_path / "search")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"learning_rate_range": (0.1, 0.01)}, "set learning_rate"),
        ({"learning_rate_range": (0.01, 2.0)}, "learning_rate cannot be 2.0"),
        ({"weight_decay_range": (0.0, 0.1)}, "above 0"),
        ({"budget_s": 7200.0}, "search_budget_s .* 7200"),
        ({"learning_rate": 0.01, "batch_size": 2}, "unset"),
    ],
)
def test_an_impossible_search_is_refused(settings, reason):
    with pytest.raises(ValueError, match=reason):
        SearchSettings(**QUICK | settings)
