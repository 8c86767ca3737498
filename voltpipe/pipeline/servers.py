"""Dagster's and MLflow's pages, served together on this machine until they are told to stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from voltpipe.errors import VoltpipeError
from voltpipe.lake import LAKE_VARIABLE, Lake
from voltpipe.pipeline import code_server
from voltpipe.pipeline.dead_runs import bury_dead_runs
from voltpipe.pipeline.instance import open_instance
from voltpipe.pipeline.launch import register_raw_recordings
from voltpipe.tracking.store import TrackingStore
from voltpipe.tracking.ui import server_command

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
_START_S = 180.0
_STOP_S = 30.0
_RESTARTS, _RESTARTS_WITHIN_S = 5, 600.0
"""A server that went down is started again, but not more often than so."""
_LOOK_S = 5.0
"""So often the code server is looked after, which goes down without a word."""
_ORPHANS = ("-m dagster_webserver", "-m dagster._daemon", "-m mlflow", "uvicorn", "mlflow.server")
"""What the servers start besides runs, as their command lines show it."""


class ServerError(VoltpipeError):
    """A page that cannot be served."""


@dataclass(frozen=True)
class Server:
    """One server: its command, where it listens and what it said."""

    name: str
    command: list[str]
    address: str
    log: Path


def serve(lake: Lake, *, host: str, dagster_port: int, mlflow_port: int) -> None:
    """Serve until Ctrl-C or SIGTERM. A server that goes down is started again.

    Raises:
        ServerError: a port is taken, or a server did not come up or goes down again and again.
    """
    for name, port in (("Dagster", dagster_port), ("MLflow", mlflow_port)):
        if port_taken(host, port):
            raise ServerError(
                f"port {port} on {host} is taken, {name} cannot be served there; stop what listens, or name another "
                f"port with --{name.lower()}-port"
            )
    store = TrackingStore(lake.mlflow)
    store.prepare()
    with open_instance(lake) as instance:
        bury_dead_runs(lake, instance, store)
        register_raw_recordings(lake, instance)
    dagster = f"http://{host}:{dagster_port}"
    mlflow = f"http://{host}:{mlflow_port}"
    # The definitions link to these pages, and are loaded by the servers and by every run.
    os.environ |= {LAKE_VARIABLE: str(lake.root), "VOLTPIPE_DAGSTER_URL": dagster, "VOLTPIPE_MLFLOW_URL": mlflow}
    workspace = ["-w", str(WORKSPACE)] if WORKSPACE.exists() else ["-m", "voltpipe.pipeline.definitions"]
    dagster_command = [sys.executable, "-m", "dagster", "dev", *workspace, "-h", host, "-p", str(dagster_port)]
    servers = [
        Server("Dagster", dagster_command, dagster, lake.dagster / "server.log"),
        Server("MLflow", server_command(store, host=host, port=mlflow_port), mlflow, lake.mlflow / "server.log"),
    ]
    _run_all(servers)


def port_taken(host: str, port: int) -> bool:
    """Whether something listens on a port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _run_all(servers: list[Server]) -> None:
    stop_asked = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop_asked.append(True))
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for server in servers:
            server.log.unlink(missing_ok=True)
            processes[server.name] = _start(server, os.environ)
        for server in servers:
            _await(server, processes[server.name], stop_asked)
            print(f"{server.name:8} {server.address}", flush=True)
        print("Ctrl-C stops both.", flush=True)
        restarts: deque[float] = deque(maxlen=_RESTARTS)
        looked_s = time.monotonic()
        while not stop_asked:
            for server in servers:
                if processes[server.name].poll() is not None:
                    processes[server.name] = _start_again(server, processes[server.name], restarts)
                    _await(server, processes[server.name], stop_asked)
            if time.monotonic() - looked_s > _LOOK_S:
                looked_s = time.monotonic()
                if code_server.revive(servers[0].address):
                    print("Dagster's code server stopped, and is started again", flush=True)
            time.sleep(0.5)
    finally:
        _stop(processes.values())


def _start(server: Server, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    server.log.parent.mkdir(parents=True, exist_ok=True)
    with server.log.open("ab") as log:
        # A session of its own, so that a Ctrl-C in the terminal reaches the server once, from here.
        return subprocess.Popen(
            server.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )


def _start_again(
    server: Server, process: "subprocess.Popen[bytes]", restarts: deque[float]
) -> "subprocess.Popen[bytes]":
    """Start a server that went down, unless that happens all the time."""
    now_s = time.monotonic()
    if len(restarts) == _RESTARTS and now_s - restarts[0] < _RESTARTS_WITHIN_S:
        _raise_if_down(server, process)
    restarts.append(now_s)
    print(f"{server.name} stopped with status {process.returncode}, and is started again", flush=True)
    _end_orphans(process)
    return _start(server, os.environ)


def _end_orphans(process: "subprocess.Popen[bytes]") -> None:
    """End the servers that one left behind which was killed: they hold its port. Runs that it launched go on."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,args="], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        pid, group, command = line.split(maxsplit=2)
        if int(group) == process.pid and any(name in command for name in _ORPHANS):
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _await(server: Server, process: "subprocess.Popen[bytes]", stop_asked: list[bool]) -> None:
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    deadline = time.monotonic() + _START_S
    while not stop_asked:
        _raise_if_down(server, process)
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, int(port))) == 0:
                return
        if time.monotonic() > deadline:
            raise ServerError(f"{server.name} did not come up within {_START_S:.0f} s; {server.log} says why")
        time.sleep(0.2)


def _raise_if_down(server: Server, process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        tail = "\n".join(server.log.read_text(errors="replace").splitlines()[-5:])
        raise ServerError(f"{server.name} stopped with status {process.returncode}; {server.log} ends with:\n{tail}")


def _stop(processes: "Iterable[subprocess.Popen[bytes]]") -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        # The server alone: a training that it started goes on, and is found again at the next start.
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _STOP_S
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
