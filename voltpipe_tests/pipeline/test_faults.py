"""Recovery from failures: a paused process that a retry replaced, a full disk, a damaged file."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import dagster as dg
import pytest
import torch

from voltpipe.forecasting.training.training_result import read_result
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline import retries
from voltpipe.pipeline.asset_values import JsonIOManager, WindowSetValue
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.jobs import TRAIN_JOB
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw.arrivals import find_arrivals
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import verify_recordings
from voltpipe.tracking.run_lifecycle import FAILURE_TAG

UP_TO_TRAINING = ("recording_split", "window_set", "trained_forecaster")
PAUSED_AFTER_AN_EPOCH = """
import json, os, signal, sys
import dagster as dg
import torch
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.dagster_home import open_instance
from voltpipe.pipeline.progress_listeners import MlflowProgress

def pause(self, record):
    os.kill(os.getpid(), signal.SIGSTOP)
    log_epoch(self, record)

log_epoch, MlflowProgress.epoch_finished = MlflowProgress.epoch_finished, pause
torch.set_num_threads(1)
with open_instance(Lake.default()) as instance:
    result = build_definitions(Lake.default()).resolve_job_def("train_forecaster").execute_in_process(
        run_config={"ops": json.loads(sys.argv[1])},
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in ("recording_split", "window_set", "trained_forecaster")],
        raise_on_error=False,
    )
"""


@pytest.fixture
def ops(small_windows, good_training):
    return {"recording_split": {"config": small_windows}, "trained_forecaster": {"config": good_training}}


@pytest.fixture
def train(trainable, instance, ops):
    """Trains in this process, starting with the split, and returns the run."""

    def train():
        result = (
            build_definitions(trainable)
            .resolve_job_def(TRAIN_JOB)
            .execute_in_process(
                run_config={"ops": ops},
                instance=instance,
                asset_selection=[dg.AssetKey(asset) for asset in UP_TO_TRAINING],
                raise_on_error=False,
            )
        )
        return instance.get_run_by_id(result.run_id)

    return train


@pytest.fixture
def paused(trainable, ops, tmp_path):
    """Starts a training in its own process, and pauses it after the first epoch, as if the machine hung."""
    environment = {**os.environ, LAKE_VARIABLE: str(trainable.root)}
    command = [sys.executable, "-c", PAUSED_AFTER_AN_EPOCH, json.dumps(ops)]
    with (tmp_path / "paused.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1]), (tmp_path / "paused.log").read_text()
    yield process
    process.kill()
    process.wait(10)


@contextmanager
def small_disk(folder, size):
    """Mount a file system of this size at a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a small file system can be made by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def assert_as_undisturbed(lake, materialized):
    """Assert that weights and history equal those of an undisturbed training."""
    (folder,) = lake.checkpoints.glob("*-*")
    result = read_result(folder)
    undisturbed = read_result(next(iter(materialized.lake.checkpoints.glob("coupled_cnn_lstm-*"))))
    assert [record.validation_loss for record in result.history] == [
        record.validation_loss for record in undisturbed.history
    ]
    expected = undisturbed.forecaster.module.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in result.forecaster.module.state_dict().items())


@pytest.fixture
def before_a_retry(monkeypatch):
    """Calls a function whenever Dagster is about to wait for a step that requested a retry."""

    def do(act):
        waits = []

        def wait(self):
            if (seconds := self.sleep_interval()) > 0:
                waits.append(act())
                time.sleep(seconds)

        monkeypatch.setattr(retries, "WAIT_S", 1)
        monkeypatch.setattr("dagster._core.execution.plan.active.ActiveExecution.sleep_til_ready", wait)
        return waits

    return do


def test_an_orphaned_process_stops_and_the_waiting_retry_gets_the_same_weights(
    trainable, instance, trainable_store, paused, train, materialized, before_a_retry
):
    (orphaned,) = instance.get_runs()
    instance.report_run_failed(orphaned, "taken for dead")
    instance.event_log_storage.free_concurrency_slots_for_run(orphaned.run_id)
    waits = before_a_retry(lambda: paused.send_signal(signal.SIGCONT))
    assert train().status is dg.DagsterRunStatus.SUCCESS
    assert waits
    assert_as_undisturbed(trainable, materialized)
    (mlflow_run,) = trainable_store.tagged_runs({})
    assert mlflow_run.info.status == "FINISHED"
    assert FAILURE_TAG not in mlflow_run.data.tags
    paused.wait(60)
    assert trainable_store.tagged_runs({})[0].info.status == "FINISHED"
    assert instance.get_run_by_id(orphaned.run_id).status is dg.DagsterRunStatus.FAILURE


def test_a_disk_that_is_full_for_a_while_costs_at_most_one_epoch(trainable, train, materialized, before_a_retry):
    with small_disk(trainable.checkpoints, "16m") as disk:
        filler = disk / ".filler"
        filler.write_bytes(bytes(2**24 - 2**16))
        waits = before_a_retry(lambda: filler.unlink(missing_ok=True))
        assert train().status is dg.DagsterRunStatus.SUCCESS
        assert waits
        assert_as_undisturbed(trainable, materialized)


def test_a_full_disk_leaves_no_partial_file_and_loses_nothing(tmp_path, put_recording, spiking_mv):
    with small_disk(tmp_path / "lake", "1m") as disk:
        lake, key = Lake(disk), RecordingKey("slice", "run_0")
        raw = put_recording(lake, "run_0", spiking_mv(0))
        os.utime(raw, (time.time() - 60,) * 2)
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(2**21))
        with pytest.raises(OSError, match=r"[Nn]o space left"):
            condition_raw(lake, key, ConditioningSettings())
        assert list(lake.root.rglob("*.partial")) == []
        assert not lake.conditioned_path(key).exists()
        filler.unlink()
        assert list(find_arrivals(lake).ready) == [key]
        condition_raw(lake, key, ConditioningSettings())
        assert list(verify_recordings(lake)[0]) == ["slice--run_0"]


@pytest.fixture
def conditioned(tmp_path, put_recording, spiking_mv):
    """A lake with two conditioned recordings."""
    lake = Lake(tmp_path / "damaged")
    for number in range(2):
        path = put_recording(lake, f"run_{number}", spiking_mv(number))
        os.utime(path, (time.time() - 60,) * 2)
        condition_raw(lake, RecordingKey("slice", f"run_{number}"), ConditioningSettings())
    return lake


@pytest.mark.parametrize("read_all", [False, True])
def test_a_damaged_conditioned_file_is_set_aside_and_conditioned_again(conditioned, read_all):
    key = RecordingKey("slice", "run_0")
    path = conditioned.conditioned_path(key)
    content = bytearray(path.read_bytes())
    undamaged = bytes(content)
    content[len(content) // 4 if read_all else -1] ^= 1
    path.write_bytes(content)
    if read_all:
        assert verify_recordings(conditioned)[1] == {}
    sound, damaged = verify_recordings(conditioned, read_all=read_all)
    assert list(sound) == ["slice--run_1"]
    assert "is damaged" in damaged["slice--run_0"]
    assert verify_recordings(conditioned)[1] == {}
    assert list(find_arrivals(conditioned).ready) == [key]
    condition_raw(conditioned, key, ConditioningSettings())
    assert path.read_bytes() == undamaged
    assert list(find_arrivals(conditioned).ready) == []


def test_a_recording_with_a_damaged_history_is_conditioned_again(conditioned):
    key = RecordingKey("slice", "run_0")
    conditioned.history_path(key).write_text("{")
    assert list(find_arrivals(conditioned).ready) == [key]


def test_two_concurrent_runs_pass_on_their_own_values(tmp_path):
    values, key = JsonIOManager(root=str(tmp_path)), dg.AssetKey("window_set")
    for run_id in ("first", "second"):
        value = WindowSetValue(folder=run_id, digest="d")
        values.handle_output(dg.build_output_context(asset_key=key, run_id=run_id), value)

    def loaded(upstream):
        context = dg.build_input_context(
            asset_key=key, upstream_output=upstream, dagster_type=dg.PythonObjectDagsterType(WindowSetValue)
        )
        return values.load_input(context).folder

    assert loaded(dg.build_output_context(asset_key=key, run_id="first")) == "first"
    assert loaded(dg.build_output_context(asset_key=key, run_id="of another asset")) == "second"
    assert loaded(None) == "second"
