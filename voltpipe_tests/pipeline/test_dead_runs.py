"""A command that is killed holds nothing up: whoever comes next buries its run, and goes on with its training."""

import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest

from voltpipe.lake import LAKE_VARIABLE
from voltpipe.pipeline.dead_runs import bury_dead_runs, known_alive
from voltpipe.pipeline.jobs import TRAIN_JOB
from voltpipe.pipeline.run_tags import DAGSTER_RUN_TAG
from voltpipe.tracking.lifecycle import FAILURE_TAG

EPOCHS = 12
TRAIN = (
    *("train", "--max-epochs", str(EPOCHS), "--windows-per-epoch", "32", "--budget-s", "600"),
    *("--early-stopping-epochs", str(EPOCHS), "--device", "cpu"),
)


@pytest.fixture
def command(trainable, tmp_path):
    """Starts `voltpipe train`."""
    program = "import torch; torch.set_num_threads(1); from voltpipe.cli import main; main()"
    environment = {**os.environ, LAKE_VARIABLE: str(trainable.root)}
    started = []

    def start():
        with (tmp_path / "command.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", program, *TRAIN], env=environment, cwd=tmp_path, stdout=log, stderr=log
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture
def running(trainable, instance):
    """A run that Dagster believes to be under way, with a lock file that nobody holds."""
    run = instance.create_run_for_job(dg.job(name=TRAIN_JOB)(lambda: None), status=dg.DagsterRunStatus.STARTED)
    lock = trainable.dagster / "running" / run.run_id
    lock.parent.mkdir()
    lock.touch()
    return run


def test_a_killed_training_is_buried_and_gone_on_with_by_the_same_command(trainable, instance, store, command):
    first = command()
    deadline = time.monotonic() + 120
    while not list(trainable.checkpoints.glob("*/epoch-0000002")):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    (killed,) = instance.get_runs()
    assert killed.status is dg.DagsterRunStatus.STARTED

    assert command().wait(240) == 0
    second, buried = instance.get_runs()
    assert buried.run_id == killed.run_id
    assert (buried.status, second.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
    (mlflow_run,) = store.tagged_runs({})
    assert mlflow_run.info.status == "FINISHED"
    assert FAILURE_TAG not in mlflow_run.data.tags
    assert mlflow_run.data.tags[DAGSTER_RUN_TAG] == second.run_id
    assert resumed_after_epoch(instance, second) >= 2
    assert list((trainable.dagster / "running").iterdir()) == []


def resumed_after_epoch(instance, run):
    """Epochs are observed on the run in which they are trained; the first of them follows the checkpoint."""
    records = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION).records
    observed = [record.asset_observation.metadata for record in records]
    return min(int(metadata["epoch"].value) for metadata in observed if "epoch" in metadata) - 1


def test_a_run_whose_process_is_gone_is_ended_in_both(trainable, instance, store, running):
    left = store.client.create_run(store.experiment_id, tags={DAGSTER_RUN_TAG: running.run_id})
    assert bury_dead_runs(trainable, instance, store) == [running.run_id]
    assert instance.get_run_by_id(running.run_id).status is dg.DagsterRunStatus.FAILURE
    assert store.client.get_run(left.info.run_id).info.status == "FAILED"
    assert bury_dead_runs(trainable, instance, store) == []


def test_a_run_whose_process_lives_is_left_alone(trainable, instance, store, running):
    with known_alive(trainable, running.run_id):
        assert bury_dead_runs(trainable, instance, store) == []
        assert instance.get_run_by_id(running.run_id).status is dg.DagsterRunStatus.STARTED
    assert list((trainable.dagster / "running").iterdir()) == []


def test_a_run_on_another_machine_is_left_to_that_machine(trainable, instance, store, running):
    (trainable.dagster / "running" / running.run_id).write_text("another machine")
    assert bury_dead_runs(trainable, instance, store) == []
    assert instance.get_run_by_id(running.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_run_that_ended_before_its_process_was_killed_keeps_its_end(trainable, instance, store, running):
    instance.report_run_canceled(running)
    assert bury_dead_runs(trainable, instance, store) == []
    assert instance.get_run_by_id(running.run_id).status is dg.DagsterRunStatus.CANCELED
    assert list((trainable.dagster / "running").iterdir()) == []
