"""Servers of `voltpipe up`: Dagster and MLflow, started and restarted together until Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voltpipe.errors import VoltpipeError
from voltpipe.lake.locks import SILENT_AFTER_S, LockHolder, is_locked, published_lock, read_holder, silence_s
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.build_definitions import DAGSTER_URL_VARIABLE, MLFLOW_URL_VARIABLE
from voltpipe.pipeline.dagster_home import open_instance
from voltpipe.pipeline.launcher import register_raw_recordings
from voltpipe.pipeline.runs import fail_orphaned_runs
from voltpipe.tracking.mlflow_store import TRACKING_VARIABLE, TrackingStore, mlflow_errors
from voltpipe.tracking.mlflow_ui import server_command

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
_START_S = 180.0
_STOP_S = 30.0
_RESTARTS, _RESTARTS_WITHIN_S = 5, 600.0
"""Maximum number of restarts within a period, in s."""
_CODE_SERVER_CHECK_S = 5.0
"""Interval between checks of the code server, which stops without a message."""
_ORPHANS = ("-m dagster_webserver", "-m dagster._daemon", "-m mlflow", "uvicorn", "mlflow.server")
"""Parts of the command lines of the processes that the servers start, except runs."""


class ServerError(VoltpipeError):
    """A server that cannot be started or kept up."""


@dataclass(frozen=True)
class Server:
    """One server: its command, its address and its log."""

    name: str
    command: list[str]
    address: str
    log: Path


def serve(lake: Lake, *, host: str, dagster_port: int, mlflow_port: int) -> None:
    """Serve until Ctrl-C or SIGTERM, and restart a server that stops.

    If `VOLTPIPE_TRACKING_URI` names an MLflow server, none is started and Dagster's pages link to that server.

    Raises:
        ServerError: a port is taken, MLflow's server does not answer, or a server does not start or stops repeatedly.
    """
    store = TrackingStore.of(lake)
    ports = {"Dagster": dagster_port} | ({} if store.is_server else {"MLflow": mlflow_port})
    for name, port in ports.items():
        if port_taken(host, port):
            raise ServerError(
                f"Port {port} on {host} is taken, so {name} cannot use it. Stop the process that listens on it, or "
                f"choose another port with --{name.lower()}-port.",
                code="port-taken",
            )
    _prepare(lake, store)
    pages = {name: f"http://{host}:{port}" for name, port in ports.items()}
    # The servers and every run load the definitions, which link to these pages.
    os.environ[LAKE_VARIABLE] = str(lake.root)
    os.environ[DAGSTER_URL_VARIABLE] = pages["Dagster"]
    os.environ[MLFLOW_URL_VARIABLE] = mlflow = pages.get("MLflow") or _tracking_page(store)
    workspace = ["-w", str(WORKSPACE)] if WORKSPACE.exists() else ["-m", "voltpipe.pipeline.definitions"]
    dagster = [sys.executable, "-m", "dagster", "dev", *workspace, "-h", host, "-p", str(dagster_port)]
    servers = [Server("Dagster", dagster, pages["Dagster"], lake.dagster / _log_name())]
    if store.is_server:
        notice = f"MLflow   {mlflow} (set by {TRACKING_VARIABLE}, not started here)"
    else:
        command = server_command(store, host=host, port=mlflow_port)
        servers.append(Server("MLflow", command, mlflow, lake.mlflow / _log_name()))
        notice = ""
    for other in serving(lake):
        print(
            f"Another `voltpipe up` serves this lake: {other}. Two daemons disturb each other. Stop one of them.",
            flush=True,
        )
    with published_lock(_presence(lake) / f"{_host_name()}-{dagster_port}", pages):
        _run_all(servers, notice)


def serving(lake: Lake) -> list[LockHolder]:
    """List the `voltpipe up` processes that serve a lake, on this machine and on others, with their addresses."""
    found = []
    for path in sorted(_presence(lake).glob("[!.]*")):
        holder = read_holder(path)
        if holder is not None and (is_locked(path) if holder.is_on_this_machine else silence_s(path) < SILENT_AFTER_S):
            found.append(holder)
    return found


def _prepare(lake: Lake, store: TrackingStore) -> None:
    store.prepare()
    with open_instance(lake) as instance:
        try:
            fail_orphaned_runs(lake, instance, store)
        except mlflow_errors() as error:
            raise ServerError(
                f"MLflow at {store.uri} does not answer or refuses the request: {error}. "
                f"Start it, or correct {TRACKING_VARIABLE}.",
                code="mlflow-unreachable",
            ) from error
        register_raw_recordings(lake, instance)


def _tracking_page(store: TrackingStore) -> str:
    """Return the address of an MLflow server's pages, which may differ from the server's own behind a proxy."""
    return (os.environ.get(MLFLOW_URL_VARIABLE) or store.uri).rstrip("/")


def _presence(lake: Lake) -> Path:
    return lake.dagster / "serving"


def _log_name() -> str:
    return f"server-{_host_name()}.log"


def _host_name() -> str:
    """Return this machine's name in a form that fits a file name."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()).lstrip(".") or "unnamed"


def port_taken(host: str, port: int) -> bool:
    """Return whether a process already listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _run_all(servers: list[Server], notice: str) -> None:
    stop_asked = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop_asked.append(True))
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for server in servers:
            server.log.parent.mkdir(parents=True, exist_ok=True)
            server.log.write_bytes(b"")  # not removed, because another server may have it open
            processes[server.name] = _start(server, os.environ)
        for server in servers:
            _wait_until_up(server, processes[server.name], stop_asked)
            print(f"{server.name:8} {server.address}", flush=True)
        if notice:
            print(notice, flush=True)
        print("Ctrl-C stops these servers.", flush=True)
        restarts: deque[float] = deque(maxlen=_RESTARTS)
        checked_s = time.monotonic()
        while not stop_asked:
            for server in servers:
                if processes[server.name].poll() is not None:
                    processes[server.name] = _restart(server, processes[server.name], restarts)
                    _wait_until_up(server, processes[server.name], stop_asked)
            if time.monotonic() - checked_s > _CODE_SERVER_CHECK_S:
                checked_s = time.monotonic()
                if reload_code_locations(servers[0].address):
                    print("Dagster's code server stopped and is restarted", flush=True)
            time.sleep(0.5)
    finally:
        _stop(processes.values())


def _start(server: Server, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    with server.log.open("ab") as log:
        # In its own session, a server receives Ctrl-C only from this process, and only once.
        return subprocess.Popen(
            server.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )


def _restart(server: Server, process: "subprocess.Popen[bytes]", restarts: deque[float]) -> "subprocess.Popen[bytes]":
    """Restart a server that stopped, unless it stops too often."""
    now_s = time.monotonic()
    if len(restarts) == _RESTARTS and now_s - restarts[0] < _RESTARTS_WITHIN_S:
        _raise_if_down(server, process)
    restarts.append(now_s)
    print(f"{server.name} stopped with status {process.returncode} and is restarted", flush=True)
    _end_orphans(process)
    return _start(server, os.environ)


def _end_orphans(process: "subprocess.Popen[bytes]") -> None:
    """Kill the child processes that hold a killed server's port, but not the runs that it launched."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,args="], capture_output=True, text=True, check=True).stdout
    for line in listing.splitlines():
        pid, group, command = line.split(maxsplit=2)
        if int(group) == process.pid and any(name in command for name in _ORPHANS):
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def _wait_until_up(server: Server, process: "subprocess.Popen[bytes]", stop_asked: list[bool]) -> None:
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    deadline = time.monotonic() + _START_S
    while not stop_asked:
        _raise_if_down(server, process)
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((host, int(port))) == 0:
                return
        if time.monotonic() > deadline:
            raise ServerError(
                f"{server.name} did not start within {_START_S:.0f} s. See {server.log} for the reason.",
                code="server-not-up",
            )
        time.sleep(0.2)


def _raise_if_down(server: Server, process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        tail = "\n".join(server.log.read_text(errors="replace").splitlines()[-5:])
        raise ServerError(
            f"{server.name} stopped with status {process.returncode}. {server.log} ends with:\n{tail}",
            code="server-stopped",
        )


def _stop(processes: "Iterable[subprocess.Popen[bytes]]") -> None:
    running = [process for process in processes if process.poll() is None]
    for process in running:
        # Only the server: a training that it started continues, and the next server finds it again.
        process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _STOP_S
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


_GRAPHQL_TIMEOUT_S = 10.0
_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
    __typename ... on PythonError { className } } } } } }"""
_UNREACHABLE = "DagsterUserCodeUnreachableError"


def reload_code_locations(address: str) -> bool:
    """Reload the code locations whose server has stopped, like the button in Dagster; return whether there was one.

    A location whose code cannot be loaded is left alone, because a person has to read the error and correct the code.
    """
    try:
        entries = _query(address, _LOCATIONS)["workspaceOrError"]["locationEntries"]
        gone = [entry["name"] for entry in entries if _is_unreachable(entry["locationOrLoadError"])]
        for name in gone:
            reload = f"reloadRepositoryLocation(repositoryLocationName: {json.dumps(name)})"
            _query(address, f"mutation {{ {reload} {{ __typename }} }}")
    except (OSError, ValueError, KeyError):  # the webserver is down or busy: try again at the next check
        return False
    return bool(gone)


def _is_unreachable(answer: dict[str, str] | None) -> bool:
    return answer is not None and answer.get("className") == _UNREACHABLE


def _query(address: str, query: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{address}/graphql", json.dumps({"query": query}).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=_GRAPHQL_TIMEOUT_S) as answer:
        data: dict[str, Any] = json.loads(answer.read())["data"]
    return data
