"""A killed command blocks nothing: the next command marks its run as failed and resumes its training."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import dagster as dg
import pytest

from voltpipe.lake.locks import SILENT_AFTER_S, LockHolder
from voltpipe.lake.paths import LAKE_VARIABLE
from voltpipe.pipeline.jobs import TRAIN_JOB
from voltpipe.pipeline.runs import DAGSTER_RUN_TAG, fail_orphaned_runs, hold_run_lock, silent_runs
from voltpipe.tracking.run_lifecycle import FAILURE_TAG

EPOCHS = 12
TRAIN = (
    *("train", "--max-epochs", str(EPOCHS), "--windows-per-epoch", "32", "--budget-s", "600"),
    *("--early-stopping-epochs", str(EPOCHS), "--device", "cpu"),
)


@pytest.fixture
def command(trainable, tmp_path):
    """Starts `voltpipe train`."""
    program = "import torch; torch.set_num_threads(1); from voltpipe.cli.main import main; main()"
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
    """A run with status STARTED and a lock file that no process holds."""
    run = instance.create_run_for_job(dg.job(name=TRAIN_JOB)(lambda: None), status=dg.DagsterRunStatus.STARTED)
    lock = trainable.dagster / "running" / run.run_id
    lock.parent.mkdir()
    lock.touch()
    return run


def test_repeating_a_killed_training_command_fails_its_run_and_resumes(trainable, instance, trainable_store, command):
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
    second, failed = instance.get_runs()
    assert failed.run_id == killed.run_id
    assert (failed.status, second.status) == (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS)
    (mlflow_run,) = trainable_store.tagged_runs({})
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


def test_an_orphaned_run_is_failed_in_dagster_and_mlflow(trainable, instance, trainable_store, running):
    left = trainable_store.client.create_run(trainable_store.experiment_id, tags={DAGSTER_RUN_TAG: running.run_id})
    assert fail_orphaned_runs(trainable, instance, trainable_store) == [running.run_id]
    assert instance.get_run_by_id(running.run_id).status is dg.DagsterRunStatus.FAILURE
    assert trainable_store.client.get_run(left.info.run_id).info.status == "FAILED"
    assert fail_orphaned_runs(trainable, instance, trainable_store) == []


def test_a_run_whose_process_is_alive_is_left_alone(trainable, instance, trainable_store, running):
    with hold_run_lock(trainable, running.run_id):
        assert fail_orphaned_runs(trainable, instance, trainable_store) == []
        assert instance.get_run_by_id(running.run_id).status is dg.DagsterRunStatus.STARTED
    assert list((trainable.dagster / "running").iterdir()) == []


def held_elsewhere(lake, run, silent_s):
    """Make the lock of a run look as if another machine had touched it so long ago."""
    lock = lake.dagster / "running" / run.run_id
    holder = replace(LockHolder.this_process(), host="host-b", boot="another kernel", pid=77)
    lock.write_text(json.dumps(asdict(holder)))
    touched = time.time() - silent_s
    os.utime(lock, (touched, touched))


@pytest.mark.parametrize("silent_s", [0, 2 * SILENT_AFTER_S])
def test_a_run_on_another_machine_is_not_failed_here(trainable, instance, trainable_store, running, silent_s):
    held_elsewhere(trainable, running, silent_s)
    assert fail_orphaned_runs(trainable, instance, trainable_store) == []
    assert instance.get_run_by_id(running.run_id).status is dg.DagsterRunStatus.STARTED


def test_a_run_on_another_machine_is_listed_once_it_is_silent(trainable, instance, running):
    held_elsewhere(trainable, running, 0)
    assert silent_runs(trainable, instance) == []
    held_elsewhere(trainable, running, 2 * SILENT_AFTER_S)
    (silent,) = silent_runs(trainable, instance)
    assert (silent.run_id, silent.holder.host, silent.holder.pid) == (running.run_id, "host-b", 77)
    assert silent.silence_s == pytest.approx(2 * SILENT_AFTER_S, abs=30)
    instance.report_run_canceled(running)
    assert silent_runs(trainable, instance) == []


def test_orphaned_runs_are_found_if_locks_need_files_open_for_writing(
    trainable, instance, trainable_store, running, nfs_locks
):
    assert fail_orphaned_runs(trainable, instance, trainable_store) == [running.run_id]


def test_a_run_that_ended_before_its_process_was_killed_keeps_its_status(trainable, instance, trainable_store, running):
    instance.report_run_canceled(running)
    assert fail_orphaned_runs(trainable, instance, trainable_store) == []
    assert instance.get_run_by_id(running.run_id).status is dg.DagsterRunStatus.CANCELED
    assert list((trainable.dagster / "running").iterdir()) == []
