"""Work of `voltpipe doctor`: check everything that voltpipe depends on, and name the remedy for each problem."""

import importlib.metadata
import io
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from voltpipe.errors import VoltpipeError
from voltpipe.lake.paths import LAKE_VARIABLE, Lake

_ENOUGH_BYTES = 5 * 2**30
_RERUN = "Fix the error above and rerun `voltpipe doctor`."
_PACKAGES = ("voltpipe", "dagster", "mlflow", "torch", "numpy", "brian2")


@dataclass(frozen=True)
class CheckResult:
    """Result of one check."""

    subject: str
    found: str
    remedy: str = ""
    """Advice to the user; empty if nothing is wrong."""

    @property
    def healthy(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.remedy

    @property
    def line(self) -> str:
        """The result as printed in the terminal."""
        mark = "ok   " if self.healthy else "WRONG"
        return f"{mark} {self.subject:12} {self.found}" + (f"\n      -> {self.remedy}" if self.remedy else "")


def run_checks(lake: Lake, *, host: str, ports: Mapping[str, int]) -> list[CheckResult]:
    """Check the lake and this machine; create missing stores and migrate old ones."""
    checks: list[tuple[str, Callable[[], Iterator[CheckResult]]]] = [
        ("versions", _versions),
        ("lake", lambda: _lake(lake)),
        ("disk", lambda: _disk(lake)),
        ("Dagster", lambda: _dagster(lake)),
        ("MLflow", lambda: _mlflow(lake)),
        ("champion", lambda: _champion(lake)),
        ("recordings", lambda: _recordings(lake)),
        ("servers", lambda: _servers(lake)),
        ("ports", lambda: _ports(lake, host, ports)),
        ("device", _device),
        ("compiler", _compiler),
    ]
    results: list[CheckResult] = []
    for subject, check in checks:
        try:
            results += check()
        except VoltpipeError as error:
            results.append(CheckResult(subject, str(error), _RERUN))
        except Exception as error:
            results.append(CheckResult(subject, f"{type(error).__name__}: {error}", _remedy(error)))
    return results


def _remedy(error: Exception) -> str:
    from voltpipe.pipeline.dagster_home import missing_driver

    return missing_driver(error) or _RERUN


def _versions() -> Iterator[CheckResult]:
    yield CheckResult("versions", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES))


def _lake(lake: Lake) -> Iterator[CheckResult]:
    lake.root.mkdir(parents=True, exist_ok=True)
    if os.access(lake.root, os.W_OK | os.X_OK):
        yield CheckResult("lake", str(lake.root))
    else:
        remedy = f"Change its owner, or set {LAKE_VARIABLE} to another folder."
        yield CheckResult("lake", f"{lake.root} is not writable", remedy)


def _disk(lake: Lake) -> Iterator[CheckResult]:
    free = shutil.disk_usage(lake.root).free
    remedy = "" if free > _ENOUGH_BYTES else f"Free some space. A training may write up to {_ENOUGH_BYTES >> 30} GiB."
    yield CheckResult("disk", f"{free / 2**30:.1f} GiB free", remedy)


def _dagster(lake: Lake) -> Iterator[CheckResult]:
    from voltpipe.pipeline.dagster_home import open_instance
    from voltpipe.pipeline.partitions import recording_keys
    from voltpipe.pipeline.runs import beating_daemons, fail_orphaned_runs, silent_runs
    from voltpipe.tracking.mlflow_store import TrackingStore

    with open_instance(lake) as instance:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # hide its progress bars
            instance.upgrade()
        failed = fail_orphaned_runs(lake, instance, TrackingStore.of(lake))
        orphans = f", {len(failed)} orphaned runs marked as failed" if failed else ""
        yield CheckResult("Dagster", f"{lake.dagster}, {len(recording_keys(instance))} recordings known{orphans}")
        for silent in silent_runs(lake, instance):
            yield CheckResult(
                "Dagster",
                f"run {silent.run_id}, {silent.holder}, has been silent for {silent.silence_s / 60:.0f} min",
                f"Restart {silent.holder.host} and run a voltpipe command there. If that machine is gone for good, "
                "terminate the run in Dagster with immediate force to free its pool.",
            )
        if daemons := beating_daemons(instance):
            yield CheckResult(
                "Dagster",
                f"{daemons} daemons work on this instance",
                "Stop all but one. They may run on other hosts, or for another lake whose dagster.yaml names the same "
                "database.",
            )


def _mlflow(lake: Lake) -> Iterator[CheckResult]:
    from voltpipe.tracking.mlflow_store import TrackingStore

    store = TrackingStore.of(lake)
    store.prepare()
    running = store.tagged_runs({}, status="RUNNING")
    yield CheckResult("MLflow", f"{store.uri}, {len(running)} runs in progress")
    if store.tracking_uri is not None:
        return
    with sqlite3.connect(f"file:{lake.mlflow / 'mlflow.db'}?mode=ro", uri=True) as database:
        (state,) = database.execute("pragma quick_check").fetchone()
    if state != "ok":
        yield CheckResult("MLflow", f"the database is damaged: {state}", "Restore mlflow.db from a backup.")


def _champion(lake: Lake) -> Iterator[CheckResult]:
    from voltpipe.tracking.audit_log import AuditLog
    from voltpipe.tracking.mlflow_store import TrackingStore
    from voltpipe.tracking.model_registry import BRING_BACK, champion, load_forecaster, lost_champion, serving_version

    store = TrackingStore.of(lake)
    audit_log = AuditLog.of(store)
    if damaged := audit_log.damaged_lines():
        yield CheckResult("champion", f"{audit_log.path} has unreadable lines: {damaged}", "Restore it from a backup.")
    if lost := lost_champion(store):
        substitute = serving_version(store)
        service = f"version {substitute.version} forecasts in its place" if substitute else "no version forecasts"
        yield CheckResult(
            "champion", f"version {lost} was deleted from MLflow or lost its alias; {service}", BRING_BACK
        )
    present = champion(store)
    if present is not None:
        config = load_forecaster(present.uri, store).config
        yield CheckResult(
            "champion", f"version {present.version}, {config.architecture} of {', '.join(config.organoids)}"
        )
    elif not lost:
        yield CheckResult("champion", "none yet; `voltpipe train` can make one")
    if entries := audit_log.entries():
        yield CheckResult("champion", f"last: {entries[-1].line}")


def _recordings(lake: Lake) -> Iterator[CheckResult]:
    from voltpipe.recordings.raw.raw_folder import list_raw
    from voltpipe.recordings.raw.recording_records import read_quarantine

    listing, quarantine = list_raw(lake), read_quarantine(lake)
    yield CheckResult("recordings", f"{len(listing.found)} raw, {len(quarantine)} in quarantine")
    for name, reason in listing.refused.items():
        yield CheckResult("recordings", f"raw/{name} is not used", reason)


def _servers(lake: Lake) -> Iterator[CheckResult]:
    from voltpipe.cli.servers import serving

    servers = serving(lake)
    remedy = "Stop all but one. Their daemons disturb each other." if len(servers) > 1 else ""
    for holder in servers:
        pages = ", ".join(f"{name} {address}" for name, address in holder.details.items())
        yield CheckResult("servers", f"`voltpipe up` runs as {holder}: {pages}", remedy)


def _ports(lake: Lake, host: str, ports: Mapping[str, int]) -> Iterator[CheckResult]:
    from voltpipe.cli.servers import port_taken, serving
    from voltpipe.tracking.mlflow_store import TrackingStore

    own = {address for holder in serving(lake) if holder.is_on_this_machine for address in holder.details.values()}
    store = TrackingStore.of(lake)
    for name, port in ports.items():
        if name == "MLflow" and store.is_server:
            yield CheckResult("ports", f"MLflow: served at {store.uri}, so `voltpipe up` starts no server")
        elif f"http://{host}:{port}" in own:
            yield CheckResult("ports", f"{name}: {host}:{port} is served by `voltpipe up`")
        elif port_taken(host, port):
            remedy = f"Choose another port with --{name.lower()}-port, or stop the process that listens on it."
            yield CheckResult("ports", f"{name}: {host}:{port} is taken", remedy)
        else:
            yield CheckResult("ports", f"{name}: {host}:{port} is free")


def _device() -> Iterator[CheckResult]:
    from voltpipe.forecasting.compute import available_devices, choose_device, choose_precision, has_fast_bfloat16
    from voltpipe.forecasting.settings import Device, Precision

    device = choose_device(Device.AUTO, available_devices())
    precision = choose_precision(Precision.AUTO, device, fast_bfloat16=has_fast_bfloat16(device))
    yield CheckResult("device", f"training on {device.value} in {precision.value}, {os.cpu_count()} processors")


def _compiler() -> Iterator[CheckResult]:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    missing = "no C++ compiler: simulations are slower and differ from the published ones"
    yield CheckResult("compiler", compiler or missing)
