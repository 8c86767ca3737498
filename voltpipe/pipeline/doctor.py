"""Looks at everything voltpipe stands on, makes the stores that are missing, and says what is wrong and what to do."""

import importlib.metadata
import io
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from voltpipe.lake import Lake

_ENOUGH_BYTES = 5 * 2**30
_VERSIONED = ("voltpipe", "dagster", "mlflow", "torch", "numpy", "brian2")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    found: str
    remedy: str = ""
    """What to do; empty if all is well."""

    @property
    def healthy(self) -> bool:
        """Whether nothing has to be done."""
        return not self.remedy

    @property
    def line(self) -> str:
        """For the terminal."""
        mark = "ok   " if self.healthy else "WRONG"
        return f"{mark} {self.subject:12} {self.found}" + (f"\n      -> {self.remedy}" if self.remedy else "")


def examine(lake: Lake, *, host: str, ports: Mapping[str, int]) -> list[Finding]:
    """Examine the lake and this machine; stores that do not exist yet are made, old ones are migrated."""
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("lake", lambda: _lake(lake)),
        ("disk", lambda: _disk(lake)),
        ("Dagster", lambda: _dagster(lake)),
        ("MLflow", lambda: _mlflow(lake)),
        ("champion", lambda: _champion(lake)),
        ("recordings", lambda: _recordings(lake)),
        ("ports", lambda: _ports(host, ports)),
        ("device", _device),
        ("compiler", _compiler),
    ]
    findings: list[Finding] = []
    for subject, look in looks:
        try:
            findings += look()
        except Exception as error:
            findings.append(Finding(subject, f"{type(error).__name__}: {error}", "mend that, and run this again"))
    return findings


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
    remedy = "" if free > _ENOUGH_BYTES else f"make room: {_ENOUGH_BYTES >> 30} GiB let a training write in peace"
    yield Finding("disk", f"{free / 2**30:.1f} GiB free", remedy)


def _dagster(lake: Lake) -> Iterator[Finding]:
    from voltpipe.pipeline.dead_runs import bury_dead_runs
    from voltpipe.pipeline.instance import open_instance
    from voltpipe.pipeline.partitions import recording_keys
    from voltpipe.tracking.store import TrackingStore

    with open_instance(lake) as instance:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it draws progress bars
            instance.upgrade()
        buried = bury_dead_runs(lake, instance, TrackingStore.of(lake))
        ended = f", {len(buried)} runs ended whose process was gone" if buried else ""
        yield Finding("Dagster", f"{lake.dagster}, {len(recording_keys(instance))} recordings known{ended}")


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


def _ports(host: str, ports: Mapping[str, int]) -> Iterator[Finding]:
    from voltpipe.pipeline.servers import port_taken

    for name, port in ports.items():
        remedy = f"if it is not `voltpipe up` itself, name another with --{name.lower()}-port"
        taken = port_taken(host, port)
        yield Finding("ports", f"{name}: {host}:{port} is {'taken' if taken else 'free'}", remedy if taken else "")


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
