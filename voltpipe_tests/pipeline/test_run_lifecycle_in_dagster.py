"""Status of failed and killed trainings in Dagster and MLflow, and their resumption."""

import json
import os
import signal
import subprocess
import sys
import time
from threading import Thread

import dagster as dg
import numpy as np
import pytest

from voltpipe.lake.paths import LAKE_VARIABLE
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.jobs import TRAIN_JOB
from voltpipe.pipeline.launcher import Launcher, RunError
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.runs import DAGSTER_RUN_TAG, MLFLOW_RUN_TAG
from voltpipe.pipeline.sensors import orphaned_runs
from voltpipe.tracking.run_lifecycle import FAILURE_TAG
from voltpipe.windows.window_set import SAMPLES_FILE

EPOCHS = 12
TRAINING = {"max_epochs": EPOCHS, "windows_per_epoch": 32, "budget_s": 600.0, "device": "cpu"}
WORKER = """
import json
import sys

import dagster as dg
import torch

from voltpipe.lake.paths import Lake
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.dagster_home import open_instance


def job():
    return build_definitions(Lake.default()).resolve_job_def("train_forecaster")


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_config, *parent = map(json.loads, sys.argv[1:])
    with open_instance(Lake.default()) as instance:
        dg.execute_job(
            dg.reconstructable(job),
            instance,
            run_config,
            asset_selection=[dg.AssetKey(name) for name in ("recording_split", "window_set", "trained_forecaster")],
            reexecution_options=dg.ReexecutionOptions(*parent) if parent else None,
        )
"""


@pytest.fixture
def tick(trainable, instance):
    """Evaluates the sensor of orphaned runs once."""

    def tick():
        tracking = TrackingResource(folder=str(trainable.mlflow), dagster_url="", mlflow_url="")
        resources = {"lake": LakeResource(root=str(trainable.root)), "tracking": tracking}
        return orphaned_runs(dg.build_sensor_context(instance=instance, resources=resources))

    return tick


@pytest.fixture
def ops(small_windows):
    return {"recording_split": {"config": small_windows}, "trained_forecaster": {"config": TRAINING}}


@pytest.fixture
def materialize(trainable, instance, ops):
    """Materializes assets in this process, and returns the run."""

    def materialize(*assets):
        result = (
            build_definitions(trainable)
            .resolve_job_def(TRAIN_JOB)
            .execute_in_process(
                run_config={"ops": {name: config for name, config in ops.items() if name in assets}},
                instance=instance,
                asset_selection=[dg.AssetKey(asset) for asset in assets],
                raise_on_error=False,
            )
        )
        return instance.get_run_by_id(result.run_id)

    return materialize


@pytest.fixture
def worker(trainable, ops, tmp_path):
    """Starts the training in a process of its own, as Dagster's launcher does; again as the retry of a run."""
    program = tmp_path / "worker.py"
    program.write_text(WORKER)
    environment = {**os.environ, LAKE_VARIABLE: str(trainable.root)}
    started = []

    def start(*parent_run_id):
        arguments = map(json.dumps, ({"ops": ops}, *parent_run_id))
        with (tmp_path / "worker.log").open("ab") as log:
            command = [sys.executable, str(program), *arguments]
            started.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(10)


def test_a_failed_training_is_failed_in_dagster_and_mlflow(trainable, trainable_store, materialize):
    assert materialize("recording_split", "window_set").status is dg.DagsterRunStatus.SUCCESS
    (samples,) = trainable.windows.glob(f"set-*/{SAMPLES_FILE}")
    broken = np.load(samples)
    broken[:] = np.nan
    np.save(samples, broken)
    run = materialize("trained_forecaster")
    assert run.status is dg.DagsterRunStatus.FAILURE
    (mlflow_run,) = trainable_store.tagged_runs({DAGSTER_RUN_TAG: run.run_id})
    assert mlflow_run.info.status == "FAILED"
    assert "not finite" in mlflow_run.data.tags[FAILURE_TAG]
    assert run.tags[MLFLOW_RUN_TAG] == mlflow_run.info.run_id


def await_epoch(lake, process, epoch, limit_s=120):
    deadline = time.monotonic() + limit_s
    while not list(lake.checkpoints.glob(f"*/epoch-{epoch:07d}")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_training_is_closed_and_resumed_as_the_same_mlflow_run(
    trainable, instance, trainable_store, tick, worker
):
    process = worker()
    await_epoch(trainable, process, 3)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    (killed,) = instance.get_runs()
    (mlflow_run,) = trainable_store.tagged_runs({})
    assert killed.status is dg.DagsterRunStatus.STARTED
    assert mlflow_run.info.status == "RUNNING"

    tick()
    assert instance.get_run_by_id(killed.run_id).status is dg.DagsterRunStatus.FAILURE
    (mlflow_run,) = trainable_store.tagged_runs({})
    assert mlflow_run.info.status == "FAILED"

    assert worker(killed.run_id).wait(240) == 0
    retry, _ = instance.get_runs()
    assert retry.root_run_id == killed.run_id
    (resumed,) = trainable_store.tagged_runs({})
    assert retry.status is dg.DagsterRunStatus.SUCCESS
    assert resumed.info.run_id == mlflow_run.info.run_id == retry.tags[MLFLOW_RUN_TAG]
    assert resumed.info.status == "FINISHED"
    assert FAILURE_TAG not in resumed.data.tags
    assert resumed.data.tags[DAGSTER_RUN_TAG] == retry.run_id
    epochs = [metric.step for metric in trainable_store.client.get_metric_history(resumed.info.run_id, "train/loss")]
    assert sorted(set(epochs)) == list(range(1, EPOCHS + 1))


@pytest.fixture
def train_while(trainable, instance, small_windows):
    """Trains in this process, and does something to the run once there is a checkpoint; returns the error."""

    def wait_and(act):
        deadline = time.monotonic() + 120
        while not list(trainable.checkpoints.glob("*/epoch-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        (run,) = instance.get_runs()
        act(run)

    def train(act):
        meanwhile = Thread(target=wait_and, args=(act,))
        meanwhile.start()
        with pytest.raises(RunError) as failure:
            Launcher(trainable).train(split=small_windows, training={**TRAINING, "max_epochs": 100_000})
        meanwhile.join(10)
        return failure.value

    return train


def interrupt(_run=None):
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_a_training_as_canceled_and_killed(instance, trainable_store, train_while):
    failure = train_while(interrupt)
    assert failure.code == "run-interrupted"
    (run,) = instance.get_runs()
    (mlflow_run,) = trainable_store.tagged_runs({})
    assert (run.status, mlflow_run.info.status) == (dg.DagsterRunStatus.CANCELED, "KILLED")
    assert "DagsterExecutionInterruptedError" in mlflow_run.data.tags[FAILURE_TAG]


def test_a_termination_requested_in_the_ui_is_canceled_and_killed(instance, trainable_store, train_while):
    def terminate(run):  # as Dagster's launcher does
        instance.report_run_canceling(run)
        interrupt()

    train_while(terminate)
    (run,) = instance.get_runs()
    (mlflow_run,) = trainable_store.tagged_runs({})
    assert (run.status, mlflow_run.info.status) == (dg.DagsterRunStatus.CANCELED, "KILLED")


def test_a_training_whose_run_has_ended_stops(instance, train_while):
    failure = train_while(instance.report_run_canceled)
    assert failure.code == "run-failed"
    assert "trained_forecaster.train: Run " in str(failure)


def test_the_mlflow_run_of_a_terminated_run_is_closed_as_killed(trainable, instance, trainable_store, tick):
    run = instance.create_run_for_job(build_definitions(trainable).resolve_job_def(TRAIN_JOB))
    left = trainable_store.client.create_run(trainable_store.experiment_id, tags={DAGSTER_RUN_TAG: run.run_id})
    instance.report_run_canceled(run)
    tick()
    assert trainable_store.client.get_run(left.info.run_id).info.status == "KILLED"
