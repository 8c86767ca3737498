"""Orphaned runs: their process was killed, so nobody ends them in Dagster and in MLflow.

Dagster notices that only while the server that launched the run is up. So each process that executes a run, a worker
or a command, holds the run's lock. The next process that finds the lock free marks the run as failed, and its MLflow
run too.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from voltpipe.lake import Lake
from voltpipe.locks import (
    SILENT_AFTER_S,
    LockHolder,
    abandoned_lock,
    published_lock,
    read_holder,
    silence_s,
)
from voltpipe.pipeline.run_tags import DAGSTER_RUN_TAG
from voltpipe.tracking.lifecycle import close_leftover_runs
from voltpipe.tracking.store import TrackingStore


def known_alive(lake: Lake, run_id: str) -> AbstractContextManager[None]:
    """Hold a run's lock while it runs in this process. After an exception the run counts as orphaned."""
    return published_lock(_folder(lake) / run_id)


def run_holder(lake: Lake, run_id: str) -> LockHolder | None:
    """Return the process that executes a run; None if no process holds the run's lock."""
    return read_holder(_folder(lake) / run_id)


def bury_dead_runs(lake: Lake, instance: dg.DagsterInstance, store: TrackingStore) -> list[str]:
    """Mark the runs of this machine whose process is gone as failed, free their pools, close their MLflow runs.

    Returns:
        Their ids.
    """
    buried = []
    for path in _lock_files(lake):
        with abandoned_lock(path) as is_gone:
            run = instance.get_run_by_id(path.name) if is_gone else None
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "the process that ran it is gone")
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                buried.append(run.run_id)
    close_mlflow_runs(instance, store)
    return buried


@dataclass(frozen=True)
class SilentRun:
    """A run on another machine that has shown no sign of life for minutes."""

    run_id: str
    holder: LockHolder
    silence_s: float


def silent_runs(lake: Lake, instance: dg.DagsterInstance) -> list[SilentRun]:
    """List the unfinished runs of other machines that are not heard of any more.

    Such a machine may be cut off and still at work, so its runs are not marked as failed here.
    """
    silent = []
    for path in _lock_files(lake):
        holder, since_s = read_holder(path), silence_s(path)
        if holder is not None and not holder.is_on_this_machine and since_s > SILENT_AFTER_S:
            run = instance.get_run_by_id(path.name)
            if run is not None and not run.is_finished:
                silent.append(SilentRun(run.run_id, holder, since_s))
    return silent


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


def _lock_files(lake: Lake) -> list[Path]:
    return sorted(_folder(lake).glob("[!.]*"))


def _folder(lake: Lake) -> Path:
    return lake.dagster / "running"
