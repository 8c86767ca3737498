"""Runs of this process, and what becomes of them when it is killed.

Dagster's daemon looks after the runs that it launched. A run in a process of our own holds a lock that the system lets
go when the process ends, however it ends; whoever comes next and finds the lock free buries the run.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from voltpipe.lake import Lake
from voltpipe.pipeline.run_tags import DAGSTER_RUN_TAG
from voltpipe.tracking.lifecycle import close_leftover_runs
from voltpipe.tracking.store import TrackingStore


@contextmanager
def known_alive(lake: Lake, run_id: str) -> Iterator[None]:
    """Hold a run's lock while it runs in this process."""
    path = _folder(lake) / run_id
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        path.unlink(missing_ok=True)  # not after an exception: the run may not have ended, and is buried then


def bury_dead_runs(lake: Lake, instance: dg.DagsterInstance, store: TrackingStore) -> list[str]:
    """End the runs whose process is gone, free their pools, close their MLflow runs; returns their ids."""
    buried = []
    for path in sorted(_folder(lake).glob("*")):
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            run = instance.get_run_by_id(path.name)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "the process that ran it is gone")
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                close_leftover_runs(store, DAGSTER_RUN_TAG, run.run_id)
                buried.append(run.run_id)
            path.unlink(missing_ok=True)
    return buried


def _folder(lake: Lake) -> Path:
    return lake.dagster / "running"
