"""`voltpipe up` serves both pages, conditions raw files automatically, and leaves no process after Ctrl-C."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from voltpipe.cli.servers import ServerError, port_taken, serve
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.tracking.mlflow_store import TRACKING_VARIABLE, TrackingStore
from voltpipe.tracking.mlflow_ui import server_command


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def listener():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_port_is_taken_if_a_process_listens_on_it(listener):
    assert port_taken("127.0.0.1", listener)
    assert not port_taken("127.0.0.1", free_port())


@pytest.mark.parametrize("name", ["dagster", "mlflow"])
def test_a_taken_port_is_refused_with_the_remedy_before_anything_is_written(listener, tmp_path, name):
    ports = {"dagster_port": free_port(), "mlflow_port": free_port(), f"{name}_port": listener}
    with pytest.raises(ServerError) as refused:
        serve(Lake(tmp_path / "lake"), host="127.0.0.1", **ports)
    assert refused.value.code == "port-taken"
    assert f" {listener} on 127.0.0.1 " in str(refused.value)
    assert f"--{name}-port" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def until(condition, process, limit_s=180.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (URLError, ConnectionError, TimeoutError):
        return False


def ask(port, query):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", json.dumps({"query": query}).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["data"]


def sensors(port):
    """State of each sensor, by name."""
    repository = '{repositoryName: "__repository__", repositoryLocationName: "voltpipe"}'
    answer = ask(
        port,
        f"{{ sensorsOrError(repositorySelector: {repository}) "
        "{ ... on Sensors { results { name sensorState { id status } } } } }",
    )
    return {each["name"]: each["sensorState"] for each in answer["sensorsOrError"]["results"]}


def processes_of(lake):
    """Return the ids of the processes whose environment names a lake."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{LAKE_VARIABLE}={lake.root}\0".encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
        except OSError:  # the process has ended or belongs to another user
            continue
    return found


def listeners(process_ids):
    """Address and port of each TCP socket on which processes listen; loopback is 127.0.0.1 or ::1."""
    sockets = set()
    for number in process_ids:
        for descriptor in Path(f"/proc/{number}/fd").glob("*"):
            try:
                sockets.add(str(descriptor.readlink()))
            except OSError:  # the file was closed
                continue
    found = set()
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                address, _, port = local.partition(":")
                words = [bytes.fromhex(address[first : first + 8])[::-1] for first in range(0, len(address), 8)]
                found.add((socket.inet_ntop(family, b"".join(words)), int(port, 16)))
    return found


def kill(lake, command):
    """Kill the processes of a lake whose command line contains this text."""
    for process in processes_of(lake):
        if command in Path(f"/proc/{process}/cmdline").read_text().replace("\0", " "):
            os.kill(process, signal.SIGKILL)


def runs(port):
    """Status of each run."""
    answer = ask(port, "{ runsOrError { ... on Runs { results { status } } } }")
    return [each["status"] for each in answer["runsOrError"]["results"]]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_killed_servers_are_restarted_raw_files_are_conditioned_and_ctrl_c_ends_all(
    tmp_path, put_recording, spiking_mv
):
    lake, elsewhere = Lake(tmp_path / "lake"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    dagster, mlflow = free_port(), free_port()
    program = "from voltpipe.cli.main import main; main()"
    command = [sys.executable, "-c", program, "up", "--dagster-port", str(dagster), "--mlflow-port", str(mlflow)]
    environment = {**os.environ, LAKE_VARIABLE: str(lake.root)}
    up = subprocess.Popen(command, env=environment, cwd=elsewhere, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        until(lambda: answers(f"http://127.0.0.1:{dagster}/server_info"), up)
        until(lambda: answers(f"http://127.0.0.1:{mlflow}/health"), up)
        lines = [up.stdout.readline().decode().split() for _ in range(2)]
        assert lines == [["Dagster", f"http://127.0.0.1:{dagster}"], ["MLflow", f"http://127.0.0.1:{mlflow}"]]
        served = listeners(processes_of(lake))
        assert {("127.0.0.1", dagster), ("127.0.0.1", mlflow)} <= served
        assert {address for address, _ in served} <= {"127.0.0.1", "::1"}
        paused = sensors(dagster)["retraining"]["id"]
        ask(dagster, f'mutation {{ stopSensor(id: "{paused}") {{ __typename }} }}')
        states = {name: state["status"] for name, state in sensors(dagster).items()}
        assert (states["retraining"], states["raw_recordings"]) == ("STOPPED", "RUNNING")
        kill(lake, "-m dagster._daemon")
        kill(lake, "-m mlflow")
        first_words = {up.stdout.readline().decode().split()[0] for _ in range(3)}
        assert first_words == {"Ctrl-C", "Dagster", "MLflow"}  # both are restarted
        path = put_recording(lake, "run_0", spiking_mv(0))
        copied_at = time.time() - 60
        os.utime(path, (copied_at, copied_at))
        until(lambda: answers(f"http://127.0.0.1:{dagster}/server_info"), up)
        until(lambda: runs(dagster), up)
        kill(lake, "-m dagster api grpc")
        assert up.stdout.readline() == b"Dagster's code server stopped and is restarted\n"
        until(lake.conditioned_path(RecordingKey("slice", "run_0")).exists, up)
        until(lambda: not set(runs(dagster)) & {"QUEUED", "STARTING", "STARTED"}, up)
        up.send_signal(signal.SIGINT)
        assert up.wait(120) == 0
        assert not port_taken("127.0.0.1", dagster)
        assert not port_taken("127.0.0.1", mlflow)
        deadline = time.monotonic() + 20  # a run in progress may still end
        while processes_of(lake) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert processes_of(lake) == []
        assert list(elsewhere.iterdir()) == []
    finally:
        for process in processes_of(lake):
            os.kill(process, signal.SIGKILL)
        up.communicate()


@pytest.fixture
def mlflow_elsewhere(tmp_path):
    """An MLflow server that `voltpipe up` did not start."""
    store, port = TrackingStore(tmp_path / "elsewhere"), free_port()
    store.prepare()
    server = subprocess.Popen(
        server_command(store, port=port),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(10)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
def test_an_mlflow_server_elsewhere_is_linked_and_none_is_started(tmp_path, mlflow_elsewhere, monkeypatch):
    lake, dagster, mlflow = Lake(tmp_path / "lake"), free_port(), free_port()
    monkeypatch.setenv(LAKE_VARIABLE, str(lake.root))
    monkeypatch.setenv(TRACKING_VARIABLE, f"{mlflow_elsewhere}/")
    ports = ["--dagster-port", str(dagster), "--mlflow-port", str(mlflow)]
    command = [sys.executable, "-c", "from voltpipe.cli.main import main; main()"]
    up = subprocess.Popen([*command, "up", *ports], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: answers(f"http://127.0.0.1:{dagster}/server_info"), up)
        assert up.stdout.readline().split() == ["Dagster", f"http://127.0.0.1:{dagster}"]
        assert up.stdout.readline().split()[:2] == ["MLflow", mlflow_elsewhere]
        assert not port_taken("127.0.0.1", mlflow)
        link = f"VOLTPIPE_MLFLOW_URL={mlflow_elsewhere}\0"
        assert any(link in Path(f"/proc/{process}/environ").read_text() for process in processes_of(lake))
        logs = {path.name for path in lake.dagster.glob("*.log")}
        assert logs == {f"server-{socket.gethostname()}.log"}
        assert not lake.mlflow.exists() or not list(lake.mlflow.glob("mlflow.db"))
        doctor = subprocess.run([*command, "doctor", *ports], capture_output=True, text=True, check=False)
        assert doctor.returncode == 0, doctor.stdout
        assert f"process {up.pid} on {socket.gethostname()}" in doctor.stdout
        up.send_signal(signal.SIGINT)
        assert up.wait(120) == 0
        assert list((lake.dagster / "serving").iterdir()) == []
    finally:
        for process in processes_of(lake):
            os.kill(process, signal.SIGKILL)
        up.communicate()


def test_an_mlflow_server_that_is_down_is_reported(tmp_path, monkeypatch, working_directory):
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv(TRACKING_VARIABLE, address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ServerError) as refused:
        serve(Lake(tmp_path / "lake"), host="127.0.0.1", dagster_port=free_port(), mlflow_port=free_port())
    assert refused.value.code == "mlflow-unreachable"
    assert address in str(refused.value)
    assert TRACKING_VARIABLE in str(refused.value)
