"""A training continues while MLflow's server is down, and its learning curve is complete in the end."""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from voltpipe.pipeline.progress_listeners import MlflowProgress
from voltpipe.progress import EpochRecord
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.mlflow_ui import server_command
from voltpipe.tracking.run_lifecycle import tracked_run


def record(epoch):
    return EpochRecord(
        epoch=epoch,
        elapsed_s=float(epoch),
        train_loss=1 / epoch,
        validation_loss=1 / epoch,
        validation_r2={1: 0.5},
        learning_rate=1e-3,
        windows_per_s=9.0,
        remaining_s=0.0,
    )


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def server(prepared_mlflow, tmp_path):
    """Starts MLflow's server on the same port each time."""
    folder = shutil.copytree(prepared_mlflow, tmp_path / "mlflow")
    store = TrackingStore(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []

    def start():
        with (tmp_path / "server.log").open("ab") as log:
            command = server_command(store, port=port)
            started.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True))
        deadline = time.monotonic() + 120
        while not answers(port):
            assert started[-1].poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return started[-1]

    yield TrackingStore(folder, f"http://127.0.0.1:{port}"), start
    for process in started:
        end(process)


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.mark.slow
def test_a_server_that_is_killed_during_a_training_loses_no_metrics(server, monkeypatch, capsys):
    store, start = server
    killed = start()
    with tracked_run(store, name="training", identity="a", tags={"dagster.run_id": "1"}) as run:
        progress = MlflowProgress(run)
        progress.epoch_finished(record(1))
        end(killed)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        progress.epoch_finished(record(2))
        assert "MLflow did not accept" in capsys.readouterr().err
        start()
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        progress.epoch_finished(record(3))
        for epoch in (1, 2, 3):  # as at the end of a training
            run.log_epoch(record(epoch))
    finished = store.client.get_run(run.run_id)
    assert finished.info.status == "FINISHED"
    losses = store.client.get_metric_history(run.run_id, "train/loss")
    assert sorted({(loss.step, loss.value) for loss in losses}) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
