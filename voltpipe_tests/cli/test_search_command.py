"""A search in Dagster and MLflow: one run with its trials, and settings for a training."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from voltpipe.cli.train_and_register import search_settings, search_summary
from voltpipe.forecasting.search.search import JOURNAL_FILE
from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake.files import read_json
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.asset_values import SearchValue, value_path
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.jobs import SEARCH_JOB, TRAIN_JOB
from voltpipe.pipeline.launcher import Launcher, RunError
from voltpipe.pipeline.progress_listeners import PROGRESS_TAG
from voltpipe.pipeline.runs import DAGSTER_RUN_TAG, MLFLOW_RUN_TAG
from voltpipe.tracking.run_lifecycle import FAILURE_TAG, PARENT_TAG

SEARCH = {
    "architecture": "shared_cnn_lstm",
    "max_epochs": 4,
    "windows_per_epoch": 48,
    "batch_size": 16,
    "weight_decay": 0.0,
    "noise_mv": 0.0,
    # The recipe's rate, tried first, is at the lower end of the range, which is mostly far too high.
    "learning_rate_range": [4e-3, 1.0],
    "trials_before_pruning": 1,
    "n_trials": 3,
    "device": "cpu",
}
KILLED_IN_ITS_SECOND_TRIAL = """
import json, os, signal, sys
import torch
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.assets.hyperparameters import _TrialProgress
from voltpipe.pipeline.launcher import Launcher

def kill(self, record):
    epoch_finished(self, record)
    if record.epoch == 2 and "trial 2 of" in self.trial:
        os.kill(os.getpid(), signal.SIGKILL)

epoch_finished, _TrialProgress.epoch_finished = _TrialProgress.epoch_finished, kill
torch.set_num_threads(1)
Launcher(Lake.default()).search(**json.loads(sys.argv[1]))
"""


@pytest.fixture
def search(trainable, instance, small_windows):
    """Searches in this process, and returns the Dagster run."""

    def search(**settings):
        split = {"recording_split": {"config": small_windows}}
        result = (
            build_definitions(trainable)
            .resolve_job_def(SEARCH_JOB)
            .execute_in_process(
                run_config={"ops": {**split, "found_settings": {"config": SEARCH | settings}}},
                instance=instance,
                raise_on_error=False,
            )
        )
        return instance.get_run_by_id(result.run_id)

    return search


def parent_and_trials(trainable_store):
    """Return the search's MLflow run, and the runs of its trials in order."""
    (parent,) = [run for run in trainable_store.tagged_runs({}) if PARENT_TAG not in run.data.tags]
    trials = trainable_store.tagged_runs({PARENT_TAG: parent.info.run_id})
    return parent, sorted(trials, key=lambda run: run.info.run_name)


def found(lake) -> SearchValue:
    return SearchValue.model_validate(read_json(value_path(lake, "found_settings")))


def test_a_run_that_also_trains_does_not_search(trainable, instance, trainable_store, small_windows):
    """Materialize the same assets as "Materialize all"."""
    training = {"architecture": "shared_cnn_lstm", "max_epochs": 1, "windows_per_epoch": 48, "device": "cpu"}
    assets = [dg.AssetKey(name) for name in ("recording_split", "window_set", "found_settings", "trained_forecaster")]
    result = (
        build_definitions(trainable)
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            run_config={
                "ops": {"recording_split": {"config": small_windows}, "trained_forecaster": {"config": training}}
            },
            instance=instance,
            asset_selection=assets,
        )
    )
    materialized = {event.asset_key for event in result.get_asset_materialization_events()}
    assert materialized == set(assets)
    (found_metadata,) = (each.metadata for each in result.asset_materializations_for_node("found_settings"))
    assert found_metadata["searched"].value is False
    assert found(trainable).settings == TrainingSettings()
    (run,) = trainable_store.tagged_runs({})
    assert PARENT_TAG not in run.data.tags


def test_trials_are_runs_inside_the_search_and_its_result_configures_a_training(
    trainable, instance, trainable_store, search
):
    run = search()
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.tags[PROGRESS_TAG].startswith("trial 3 of 3, epoch ")
    parent, trials = parent_and_trials(trainable_store)
    assert run.tags[MLFLOW_RUN_TAG] == parent.info.run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.params["search.learning_rate_range"] == "0.004, 1.0"
    assert [trial.info.run_name for trial in trials] == ["trial 0", "trial 1", "trial 2"]
    complete, *pruned = trials
    assert complete.info.status == "FINISHED"
    assert complete.data.params["training.learning_rate"] == "0.004"
    assert [trial.info.status for trial in pruned] == ["KILLED", "KILLED"]
    assert all(trial.data.tags[FAILURE_TAG].startswith("TrialPruned: ") for trial in pruned)
    epochs = trainable_store.client.get_metric_history(complete.info.run_id, "validation/loss")
    losses = trainable_store.client.get_metric_history(parent.info.run_id, "validation/loss")
    assert [metric.step for metric in epochs] == [1, 2, 3, 4]
    assert losses[0].value == min(metric.value for metric in epochs)
    assert [metric.step for metric in losses] == [0, 1, 2]

    value = found(trainable)
    assert value.settings.learning_rate == 0.004
    config = yaml.safe_load(Path(value.run_config).read_text())
    assert dg.validate_run_config(build_definitions(trainable).resolve_job_def(TRAIN_JOB), config)
    assert config["ops"]["trained_forecaster"]["config"]["learning_rate"] == 0.004
    (artifact,) = trainable_store.client.list_artifacts(parent.info.run_id)
    assert artifact.path == "train_forecaster.yaml"
    event = instance.get_latest_materialization_event(dg.AssetKey("found_settings"))
    metadata = event.asset_materialization.metadata
    assert (metadata["complete trials"].value, metadata["pruned trials"].value) == (1, 2)
    assert metadata["trials"].value.splitlines()[2].startswith("| 0 | complete |")


def test_an_interrupted_search_leaves_nothing_running_and_resumes(
    trainable, instance, trainable_store, small_windows, monkeypatch
):
    def interrupt(self, record):
        original(self, record)
        if record.epoch == 2 and "trial 2 of" in self.trial:
            os.kill(os.getpid(), signal.SIGINT)

    from voltpipe.pipeline.assets.hyperparameters import _TrialProgress

    original = _TrialProgress.epoch_finished
    with monkeypatch.context() as patch:
        patch.setattr(_TrialProgress, "epoch_finished", interrupt)
        with pytest.raises(RunError) as interrupted:
            Launcher(trainable).search(split=small_windows, search={**SEARCH, "pruner": "none"})
        assert interrupted.value.code == "run-interrupted"
    parent, trials = parent_and_trials(trainable_store)
    assert [run.info.status for run in (parent, *trials)] == ["KILLED", "FINISHED", "KILLED"]

    Launcher(trainable).search(split=small_windows, search={**SEARCH, "pruner": "none"})
    again, after = parent_and_trials(trainable_store)
    assert again.info.run_id == parent.info.run_id
    assert [run.info.status for run in (again, *after)] == ["FINISHED"] * 4
    assert [run.info.run_id for run in after[:2]] == [run.info.run_id for run in trials]
    epochs = [
        metric.step for metric in trainable_store.client.get_metric_history(after[1].info.run_id, "validation/loss")
    ]
    assert epochs == [1, 2, 3, 4]
    assert after[1].data.tags[DAGSTER_RUN_TAG] == instance.get_runs()[0].run_id


def test_a_killed_search_keeps_its_trials_resumes_and_ends_like_an_undisturbed_one(
    trainable, instance, trainable_store, small_windows, tmp_path
):
    undisturbed = Lake(tmp_path / "undisturbed")
    shutil.copytree(trainable.root, undisturbed.root)
    arguments = {"split": small_windows, "search": {**SEARCH, "pruner": "none"}}
    environment = {**os.environ, LAKE_VARIABLE: str(trainable.root)}
    command = [sys.executable, "-c", KILLED_IN_ITS_SECOND_TRIAL, json.dumps(arguments)]
    killed = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.STARTED
    parent, (first, second) = parent_and_trials(trainable_store)
    assert [each.info.status for each in (parent, first, second)] == ["RUNNING", "FINISHED", "RUNNING"]
    journal = (next(trainable.searches.glob("*-*")) / JOURNAL_FILE).read_bytes()

    Launcher(trainable).search(**arguments)
    rerun, failed = instance.get_runs()
    assert failed.run_id == run.run_id
    assert (failed.status, rerun.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
    again, trials = parent_and_trials(trainable_store)
    assert [each.info.status for each in (again, *trials)] == ["FINISHED"] * 4
    assert [each.info.run_id for each in (again, *trials[:2])] == [each.info.run_id for each in (parent, first, second)]
    assert trials[0].info.end_time == first.info.end_time  # a finished trial is not repeated
    assert (next(trainable.searches.glob("*-*")) / JOURNAL_FILE).read_bytes().startswith(journal)
    epochs = [
        metric.step for metric in trainable_store.client.get_metric_history(second.info.run_id, "validation/loss")
    ]
    assert epochs == [1, 2, 3, 4]

    Launcher(undisturbed).search(**arguments)
    assert found(trainable).settings == found(undisturbed).settings
    assert without_seconds(found(trainable).table) == without_seconds(found(undisturbed).table)


def without_seconds(table):
    return [[cell for place, cell in enumerate(line.split("|")) if place != 5] for line in table.splitlines()]


def test_an_impossible_search_fails_with_the_message_of_the_step(trainable):
    with pytest.raises(RunError, match="recording_split: ") as failed:
        search_settings(trainable, SearchSettings(), organoid="nobody")
    assert failed.value.code == "run-failed"


def test_a_search_summary_is_of_that_search_even_after_a_later_one(trainable, search):
    run = search(n_trials=1)
    value_path(trainable, "found_settings").unlink()  # the newest value may be of another search
    table, config, place = search_summary(trainable, run.run_id).split("\n\n")
    assert table.splitlines()[0] == "| trial | outcome | validation loss | epochs | s | learning_rate |"
    assert yaml.safe_load(config)["ops"]["trained_forecaster"]["config"]["architecture"] == "shared_cnn_lstm"
    assert Path(place.removeprefix("run config: ")).is_file()
