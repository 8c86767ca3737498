"""MLflow's pages are served from the embedded store, and the store can be used through that server."""

import os
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.mlflow_ui import run_page, server_command, version_page
from voltpipe.tracking.model_registry import load_forecaster
from voltpipe.tracking.registration import register
from voltpipe.tracking.run_lifecycle import tracked_run
from voltpipe.tracking.served_model import log_forecaster
from voltpipe.tracking.tracked_run import TrackedRun


@pytest.fixture
def address(store, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    server = subprocess.Popen(
        server_command(store, port=port),
        cwd=elsewhere,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for_answer(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}"
        assert list(elsewhere.iterdir()) == []
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(10)


def wait_for_answer(url, server):
    for _ in range(300):
        assert server.poll() is None
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            time.sleep(0.2)
    raise AssertionError("no answer")


@pytest.mark.slow
def test_a_forecaster_is_tracked_registered_and_loaded_through_the_server(
    address, store, forecaster, history_mv, promote
):
    remote = TrackingStore(store.folder, address)
    with tracked_run(remote, name="training", identity="a", tags={}) as run:
        uri = log_forecaster(run, forecaster, history_mv, {"test/r2/h1": 0.7})
        promote(remote, register(run, uri, card="card", tags={}).version)
    assert store.client.get_run(run.run_id).info.status == "FINISHED"
    loaded = load_forecaster("voltage-forecaster@champion", remote)
    assert loaded.predict_mv(history_mv)[0, 0].tolist() == [-55.0, -60.0, -62.0]


def test_links_begin_with_the_address_of_the_server(store):
    run = TrackedRun(store, "abc")
    layout = "?workflowType=machine_learning"
    assert run_page("http://host:5000", run) == f"http://host:5000/#/experiments/{store.experiment_id}/runs/abc{layout}"
    assert version_page("http://host:5000", "3") == f"http://host:5000/#/models/voltage-forecaster/versions/3{layout}"


def test_the_server_is_local_by_default(store):
    command = server_command(store)
    assert command[command.index("--host") + 1] == "127.0.0.1"
