"""Runs whose process was killed, and what becomes of them.

A killed process closes nothing, and Dagster notices only where the server that launched it lives on. So whatever runs
a run, a server's worker or a command, holds a lock that the system lets go when the process ends, however it ends;
whoever comes next and finds the lock free buries the run. Its MLflow run follows.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import getnode

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
    aside = path.with_name(f".{run_id}")
    with aside.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(_this_machine())
        lock.flush()
        aside.replace(path)  # now that it is locked: nobody ever sees it free
        yield
        path.unlink(missing_ok=True)  # not after an exception: the run may not have ended, and is buried then


def bury_dead_runs(lake: Lake, instance: dg.DagsterInstance, store: TrackingStore) -> list[str]:
    """End the runs whose process is gone, free their pools, close their MLflow runs; returns their ids."""
    buried = []
    for path in sorted(_folder(lake).glob("[!.]*")):
        with path.open() as lock:
            if lock.read() not in ("", _this_machine()):
                continue  # on a shared file system another machine's locks may not be seen
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            run = instance.get_run_by_id(path.name)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "the process that ran it is gone")
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                buried.append(run.run_id)
            path.unlink(missing_ok=True)
    close_mlflow_runs(instance, store)
    return buried


def close_mlflow_runs(instance: dg.DagsterInstance, store: TrackingStore) -> list[str]:
    """Close the MLflow runs under way whose Dagster run has ended or is gone; returns their ids."""
    closed: list[str] = []
    for left in store.tagged_runs({}, status="RUNNING"):
        run_id = left.data.tags.get(DAGSTER_RUN_TAG)
        run = instance.get_run_by_id(run_id) if run_id else None
        if run_id and (run is None or run.is_finished):
            canceled = run is not None and run.status is dg.DagsterRunStatus.CANCELED
            closed += close_leftover_runs(store, DAGSTER_RUN_TAG, run_id, status="KILLED" if canceled else "FAILED")
    return closed


class _KnownAlive(dg.Executor):
    """Another executor that holds the run's lock meanwhile. Dagster exports no types for what it hands over."""

    def __init__(self, executor: dg.Executor, lake: Lake) -> None:
        self._executor, self._lake = executor, lake

    @property
    def retries(self) -> Any:
        return self._executor.retries

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        with known_alive(self._lake, plan_context.run_id):
            yield from self._executor.execute(plan_context, execution_plan)


def in_own_process(lake: Lake, plain: dg.ExecutorDefinition = dg.in_process_executor) -> dg.ExecutorDefinition:
    """Wrap an executor, Dagster's in-process one by default, so that its runs are known to be alive or dead."""

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        make = plain.executor_creation_fn
        assert make is not None
        return _KnownAlive(make(context), lake)

    return dg.ExecutorDefinition(
        name=plain.name,
        config_schema=plain.config_schema.as_field(),
        description=plain.description,
        executor_creation_fn=create,
    )


def _this_machine() -> str:
    return f"{getnode():x}"


def _folder(lake: Lake) -> Path:
    return lake.dagster / "running"
