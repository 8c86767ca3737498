"""Orphaned runs: their process was killed, so nobody ends them in Dagster and in MLflow.

Dagster notices that only while the server that launched the run is up. So each process that executes a run, a worker
or a command, holds the run's lock. The next process that finds the lock free marks the run as failed, and its MLflow
run too.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from voltpipe.lake.locks import SILENT_AFTER_S, LockHolder, abandoned_lock, published_lock, read_holder, silence_s
from voltpipe.lake.paths import Lake
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.run_lifecycle import close_leftover_runs


def hold_run_lock(lake: Lake, run_id: str) -> AbstractContextManager[None]:
    """Hold a run's lock while it runs in this process. After an exception the run counts as orphaned."""
    return published_lock(_folder(lake) / run_id)


def run_holder(lake: Lake, run_id: str) -> LockHolder | None:
    """Return the process that executes a run; None if no process holds the run's lock."""
    return read_holder(_folder(lake) / run_id)


def fail_orphaned_runs(lake: Lake, instance: dg.DagsterInstance, store: TrackingStore) -> list[str]:
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
        with hold_run_lock(self._lake, plan_context.run_id):
            yield from self._executor.execute(plan_context, execution_plan)


def lake_executor(lake: Lake, plain: dg.ExecutorDefinition = dg.in_process_executor) -> dg.ExecutorDefinition:
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


_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED]


def unfinished_runs(instance: dg.DagsterInstance, job_name: str | None = None) -> Sequence[dg.DagsterRun]:
    """Runs that have not ended, of one job or of all; the newest first."""
    return instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED))


DAGSTER_RUN_TAG = "dagster.run_id"
"""On an MLflow run: the Dagster run that wrote it last."""
DAGSTER_LINK_TAG = "dagster.run_page"
MLFLOW_RUN_TAG = "mlflow/run_id"
"""On a Dagster run: the MLflow run of its training."""

SCHEDULE_TAG, SENSOR_TAG = "dagster/schedule_name", "dagster/sensor_name"
"""On a Dagster run: what asked for it. Dagster sets these tags, but exports their names from private modules only."""


_BEATS_WITHIN_S = 60.0
"""A daemon that runs writes a heartbeat every 30 s."""


def beating_daemons(instance: "dg.DagsterInstance") -> int:
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
