"""Checks of all that voltpipe depends on: creates missing stores, and reports what is wrong and what to do."""

import importlib.metadata
import io
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from voltpipe.errors import VoltpipeError
from voltpipe.lake import Lake

if TYPE_CHECKING:
    import dagster as dg

_ENOUGH_BYTES = 5 * 2**30
_BEATS_WITHIN_S = 60.0
"""A daemon that runs writes a heartbeat every 30 s."""
_VERSIONED = ("voltpipe", "dagster", "mlflow", "torch", "numpy", "brian2")


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    subject: str
    found: str
    remedy: str = ""
    """What to do; empty if all is well."""

    @property
    def healthy(self) -> bool:
        """Return whether nothing has to be done."""
        return not self.remedy

    @property
    def line(self) -> str:
        """The result as printed in the terminal."""
        mark = "ok   " if self.healthy else "WRONG"
        return f"{mark} {self.subject:12} {self.found}" + (f"\n      -> {self.remedy}" if self.remedy else "")


def examine(lake: Lake, *, host: str, ports: Mapping[str, int]) -> list[Finding]:
    """Check the lake and this machine; create missing stores and migrate old ones."""
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
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
    findings: list[Finding] = []
    for subject, look in looks:
        try:
            findings += look()
        except VoltpipeError as error:
            findings.append(Finding(subject, str(error), "then run this again"))
        except Exception as error:
            findings.append(Finding(subject, f"{type(error).__name__}: {error}", _remedy(error)))
    return findings


def _remedy(error: Exception) -> str:
    from voltpipe.pipeline.instance import missing_driver

    return missing_driver(error) or "correct that, and run this again"


def _versions() -> Iterator[Finding]:
    yield Finding("versions", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _VERSIONED))


def _lake(lake: Lake) -> Iterator[Finding]:
    lake.root.mkdir(parents=True, exist_ok=True)
    if os.access(lake.root, os.W_OK | os.X_OK):
        yield Finding("lake", str(lake.root))
    else:
        yield Finding("lake", f"{lake.root} cannot be written to", "change its owner, or name another lake")


def _disk(lake: Lake) -> Iterator[Finding]:
    free = shutil.disk_usage(lake.root).free
    remedy = "" if free > _ENOUGH_BYTES else f"free some space: a training may write up to {_ENOUGH_BYTES >> 30} GiB"
    yield Finding("disk", f"{free / 2**30:.1f} GiB free", remedy)


def _dagster(lake: Lake) -> Iterator[Finding]:
    from voltpipe.pipeline.dead_runs import bury_dead_runs, silent_runs
    from voltpipe.pipeline.instance import open_instance
    from voltpipe.pipeline.partitions import recording_keys
    from voltpipe.tracking.store import TrackingStore

    with open_instance(lake) as instance:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it draws progress bars
            instance.upgrade()
        buried = bury_dead_runs(lake, instance, TrackingStore.of(lake))
        ended = f", {len(buried)} runs ended whose process was gone" if buried else ""
        yield Finding("Dagster", f"{lake.dagster}, {len(recording_keys(instance))} recordings known{ended}")
        for silent in silent_runs(lake, instance):
            yield Finding(
                "Dagster",
                f"run {silent.run_id} of {silent.holder} has not been heard of for {silent.silence_s / 60:.0f} min",
                f"restart {silent.holder.host} and run a voltpipe command there, or, if it is gone for good, terminate "
                "the run in Dagster with immediate force: that frees its pool",
            )
        if daemons := _beating_daemons(instance):
            yield Finding(
                "Dagster",
                f"{daemons} daemons work on this instance",
                "stop all but one: on other hosts, or with another lake's dagster.yaml that names the same database",
            )


def _beating_daemons(instance: "dg.DagsterInstance") -> int:
    """Return how many daemons send heartbeats if they are several; 0 if there is one, or none.

    All heartbeats of a daemon bear its id. A daemon that was just stopped has left some, but sends no more.
    """
    first = _heartbeats(instance)
    if len(first) < 2:
        return 0
    deadline = time.monotonic() + _BEATS_WITHIN_S
    beating: set[str] = set()
    while len(beating) < 2 and time.monotonic() < deadline:
        time.sleep(1)
        beating |= {daemon for daemon, beat_s in _heartbeats(instance).items() if beat_s > first.get(daemon, 0)}
    return len(beating) if len(beating) > 1 else 0


def _heartbeats(instance: "dg.DagsterInstance") -> dict[str, float]:
    """Return the latest heartbeat of each daemon that has sent one of late."""
    latest: dict[str, float] = {}
    for beat in instance.get_daemon_heartbeats().values():
        if beat.daemon_id and time.time() - beat.timestamp < _BEATS_WITHIN_S:
            latest[beat.daemon_id] = max(beat.timestamp, latest.get(beat.daemon_id, 0))
    return latest


def _mlflow(lake: Lake) -> Iterator[Finding]:
    from voltpipe.tracking.store import TrackingStore

    store = TrackingStore.of(lake)
    store.prepare()
    running = store.tagged_runs({}, status="RUNNING")
    yield Finding("MLflow", f"{store.uri}, {len(running)} runs under way")
    if store.tracking_uri is not None:
        return
    with sqlite3.connect(f"file:{lake.mlflow / 'mlflow.db'}?mode=ro", uri=True) as database:
        (state,) = database.execute("pragma quick_check").fetchone()
    if state != "ok":
        yield Finding("MLflow", f"the database is damaged: {state}", "restore mlflow.db from a backup")


def _champion(lake: Lake) -> Iterator[Finding]:
    from voltpipe.tracking.registry import BRING_BACK, champion, in_use, load_forecaster, lost_champion
    from voltpipe.tracking.store import TrackingStore
    from voltpipe.tracking.trail import Trail

    store = TrackingStore.of(lake)
    trail = Trail.of(store)
    if damaged := trail.damaged_lines():
        yield Finding("champion", f"{trail.path} has unreadable lines: {damaged}", "restore it from a backup")
    if lost := lost_champion(store):
        instead = in_use(store)
        meanwhile = f"version {instead.version} stands in for it" if instead else "nothing forecasts"
        yield Finding("champion", f"version {lost} was deleted from MLflow or lost its alias; {meanwhile}", BRING_BACK)
    present = champion(store)
    if present is not None:
        config = load_forecaster(present.uri, store).config
        yield Finding("champion", f"version {present.version}, {config.architecture} of {', '.join(config.organoids)}")
    elif not lost:
        yield Finding("champion", "none yet; `voltpipe train` makes one")
    if entries := trail.entries():
        yield Finding("champion", f"last: {entries[-1].line}")


def _recordings(lake: Lake) -> Iterator[Finding]:
    from voltpipe.recordings.catalogue import quarantined
    from voltpipe.recordings.raw import find_raw

    listing, bad = find_raw(lake), quarantined(lake)
    yield Finding("recordings", f"{len(listing.found)} raw, {len(bad)} in quarantine")
    for name, reason in listing.refused.items():
        yield Finding("recordings", f"raw/{name} is not used", reason)


def _servers(lake: Lake) -> Iterator[Finding]:
    from voltpipe.pipeline.servers import serving

    servers = serving(lake)
    remedy = "stop all but one: their daemons disturb each other" if len(servers) > 1 else ""
    for holder in servers:
        pages = ", ".join(f"{name} {address}" for name, address in holder.details.items())
        yield Finding("servers", f"`voltpipe up` is {holder}: {pages}", remedy)


def _ports(lake: Lake, host: str, ports: Mapping[str, int]) -> Iterator[Finding]:
    from voltpipe.pipeline.servers import port_taken, serving
    from voltpipe.tracking.store import TrackingStore

    own = {address for holder in serving(lake) if holder.is_on_this_machine for address in holder.details.values()}
    store = TrackingStore.of(lake)
    for name, port in ports.items():
        if name == "MLflow" and store.is_server:
            yield Finding("ports", f"MLflow: at {store.uri}, so `voltpipe up` serves none")
        elif f"http://{host}:{port}" in own:
            yield Finding("ports", f"{name}: {host}:{port} is served by `voltpipe up`")
        elif port_taken(host, port):
            remedy = f"choose another port with --{name.lower()}-port, or stop the process that listens"
            yield Finding("ports", f"{name}: {host}:{port} is taken", remedy)
        else:
            yield Finding("ports", f"{name}: {host}:{port} is free")


def _device() -> Iterator[Finding]:
    from voltpipe.forecasting.device import available_devices, choose_device, choose_precision, has_fast_bfloat16
    from voltpipe.forecasting.settings import Device, Precision

    device = choose_device(Device.AUTO, available_devices())
    precision = choose_precision(Precision.AUTO, device, fast_bfloat16=has_fast_bfloat16(device))
    yield Finding("device", f"training on {device.value} in {precision.value}, {os.cpu_count()} processors")


def _compiler() -> Iterator[Finding]:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    found = compiler or "no C++ compiler: simulations are slower, and not those published"
    yield Finding("compiler", str(Path(found)) if compiler else found)
