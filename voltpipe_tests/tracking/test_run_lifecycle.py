"""A run's status is true, however the process that writes the run ends."""

import signal
import sqlite3
import subprocess
import sys

import pytest

from voltpipe.tracking.run_lifecycle import FAILURE_TAG, close_leftover_runs, tracked_run

WRITES_AND_IS_KILLED = """
import os, signal, sys
from pathlib import Path
from voltpipe.tracking.run_lifecycle import tracked_run
from voltpipe.tracking.mlflow_store import TrackingStore
store = TrackingStore(Path(sys.argv[1]))
with tracked_run(store, name="training", identity="root--train", tags={"dagster.run_id": "first"}) as run:
    run.log_metrics({"validation/loss": 0.5}, step=1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Interrupted(BaseException):
    pass


def all_runs(store):
    return store.client.search_runs([store.experiment_id])


def test_a_run_that_succeeds_is_finished(store):
    with tracked_run(store, name="training", identity="a", tags={"dagster.run_id": "1"}) as run:
        assert store.client.get_run(run.run_id).info.status == "RUNNING"
    finished = store.client.get_run(run.run_id)
    assert finished.info.status == "FINISHED"
    assert finished.info.run_name == "training"
    assert finished.data.tags["dagster.run_id"] == "1"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("loss is NaN"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (SystemExit(1), "KILLED"),
        (Interrupted("terminated"), "KILLED"),
    ],
)
def test_a_run_that_ends_with_an_exception_has_its_status_and_message(store, error, status):
    with (
        pytest.raises(type(error)),
        tracked_run(store, name="training", identity="a", tags={}, killed_by=(Interrupted,)),
    ):
        raise error
    [run] = all_runs(store)
    assert run.info.status == status
    assert run.data.tags[FAILURE_TAG] == f"{type(error).__name__}: {error}"


def test_an_exception_not_listed_in_killed_by_is_a_failure(store):
    with pytest.raises(Interrupted), tracked_run(store, name="training", identity="a", tags={}):
        raise Interrupted
    assert all_runs(store)[0].info.status == "FAILED"


def test_a_run_interrupted_during_a_query_is_still_ended(store):
    def query():
        rows = sqlite3.connect(store.folder / "mlflow.db").execute("select * from sqlite_master")
        next(rows)  # SQLite stays locked for writing until the rows are read or forgotten
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), tracked_run(store, name="training", identity="a", tags={}):
        query()
    assert all_runs(store)[0].info.status == "KILLED"


@pytest.mark.slow
def test_a_killed_process_and_its_retry_make_one_finished_run(store):
    killed = subprocess.run([sys.executable, "-c", WRITES_AND_IS_KILLED, str(store.folder)])
    assert killed.returncode == -signal.SIGKILL
    assert [run.info.status for run in all_runs(store)] == ["RUNNING"]
    with tracked_run(store, name="training", identity="root--train", tags={"dagster.run_id": "second"}) as run:
        run.log_metrics({"validation/loss": 0.4}, step=2)
    [finished] = all_runs(store)
    assert finished.info.status == "FINISHED"
    assert finished.data.tags["dagster.run_id"] == "second"
    losses = store.client.get_metric_history(run.run_id, "validation/loss")
    assert [(loss.step, loss.value) for loss in losses] == [(1, 0.5), (2, 0.4)]


def test_a_successful_retry_removes_the_failure_tag(store):
    with pytest.raises(ValueError, match="once"), tracked_run(store, name="training", identity="a", tags={}):
        raise ValueError("once")
    with tracked_run(store, name="training", identity="a", tags={}):
        pass
    [run] = all_runs(store)
    assert run.info.status == "FINISHED"
    assert FAILURE_TAG not in run.data.tags


def test_runs_of_another_identity_are_other_runs(store):
    for identity in ("a", "b"):
        with tracked_run(store, name="training", identity=identity, tags={}):
            pass
    assert len(all_runs(store)) == 2


def test_only_the_runs_of_an_ended_process_are_closed(store):
    client = store.client
    left = client.create_run(store.experiment_id, tags={"dagster.run_id": "dead"}).info.run_id
    alive = client.create_run(store.experiment_id, tags={"dagster.run_id": "alive"}).info.run_id
    done = client.create_run(store.experiment_id, tags={"dagster.run_id": "dead"}).info.run_id
    client.set_terminated(done, "FINISHED")
    assert close_leftover_runs(store, "dagster.run_id", "dead", status="KILLED") == (left,)
    assert [client.get_run(run_id).info.status for run_id in (left, alive, done)] == ["KILLED", "RUNNING", "FINISHED"]


def test_an_mlflow_error_does_not_hide_the_error_that_ended_the_run(store):
    def fail_after_the_run_was_deleted():
        with tracked_run(store, name="training", identity="a", tags={}) as run:
            store.client.delete_run(run.run_id)
            raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason") as caught:
        fail_after_the_run_was_deleted()
    assert "FAILED" in caught.value.__notes__[0]
