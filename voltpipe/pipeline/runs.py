"""State of Dagster runs: their tags, the locks that show which are alive, and the repair of orphaned runs.

A run is orphaned if its process was killed, so that nothing ends it in Dagster and MLflow. Dagster notices this only
while the server that launched the run is up. Therefore each process that executes a run holds the run's lock. The next
process that finds the lock free marks the run and its MLflow run as failed.
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

DAGSTER_RUN_TAG = "dagster.run_id"
"""Tag of an MLflow run: the Dagster run that wrote it last."""
DAGSTER_LINK_TAG = "dagster.run_page"
"""Tag of an MLflow run: the page of that Dagster run."""
MLFLOW_RUN_TAG = "mlflow/run_id"
"""Tag of a Dagster run: the MLflow run of its training."""
SCHEDULE_TAG, SENSOR_TAG = "dagster/schedule_name", "dagster/sensor_name"
"""Tags of a Dagster run: the schedule or sensor that requested it. Dagster sets them, but only private modules export
their names."""

_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
_HEARTBEAT_S = 60.0
"""Maximum age of a running daemon's last heartbeat, in s. It sends one every 30 s."""


def unfinished_runs(instance: dg.DagsterInstance, job_name: str | None = None) -> Sequence[dg.DagsterRun]:
    """Return the runs that have not ended, newest first, of one job or of all."""
    return instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED))


def hold_run_lock(lake: Lake, run_id: str) -> AbstractContextManager[None]:
    """Hold a run's lock while this process executes the run. After an exception, the run counts as orphaned."""
    return published_lock(_lock_folder(lake) / run_id)


def run_holder(lake: Lake, run_id: str) -> LockHolder | None:
    """Return the process that executes a run; None if no process holds the run's lock."""
    return read_holder(_lock_folder(lake) / run_id)


def lake_executor(lake: Lake, plain: dg.ExecutorDefinition = dg.in_process_executor) -> dg.ExecutorDefinition:
    """Wrap an executor so that it holds the lock of the run that it executes.

    Args:
        lake: the lake that holds the locks.
        plain: the executor; by default, Dagster's in-process one.
    """

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        make = plain.executor_creation_fn
        assert make is not None
        return _LockingExecutor(make(context), lake)

    return dg.ExecutorDefinition(
        name=plain.name,
        config_schema=plain.config_schema.as_field(),
        description=plain.description,
        executor_creation_fn=create,
    )


class _LockingExecutor(dg.Executor):
    """An executor that holds the run's lock. Dagster does not export the types of its arguments."""

    def __init__(self, executor: dg.Executor, lake: Lake) -> None:
        self._executor, self._lake = executor, lake

    @property
    def retries(self) -> Any:
        return self._executor.retries

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        with hold_run_lock(self._lake, plan_context.run_id):
            yield from self._executor.execute(plan_context, execution_plan)


def fail_orphaned_runs(lake: Lake, instance: dg.DagsterInstance, store: TrackingStore) -> list[str]:
    """Mark this machine's orphaned runs as failed, free their pools and close their MLflow runs.

    Returns:
        The ids of the runs.
    """
    failed = []
    for path in _lock_files(lake):
        with abandoned_lock(path) as is_abandoned:
            run = instance.get_run_by_id(path.name) if is_abandoned else None
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "The process that executed this run has ended.")
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
                failed.append(run.run_id)
    close_mlflow_runs(instance, store)
    return failed


def close_mlflow_runs(instance: dg.DagsterInstance, store: TrackingStore) -> list[str]:
    """Close the running MLflow runs whose Dagster run has ended or was deleted; return their ids."""
    closed: list[str] = []
    for mlflow_run in store.tagged_runs({}, status="RUNNING"):
        run_id = mlflow_run.data.tags.get(DAGSTER_RUN_TAG)
        run = instance.get_run_by_id(run_id) if run_id else None
        if run_id and (run is None or run.is_finished):
            canceled = run is not None and run.status is dg.DagsterRunStatus.CANCELED
            closed += close_leftover_runs(store, DAGSTER_RUN_TAG, run_id, status="KILLED" if canceled else "FAILED")
    return closed


@dataclass(frozen=True)
class SilentRun:
    """A run on another machine that has shown no sign of life for minutes."""

    run_id: str
    holder: LockHolder
    silence_s: float


def silent_runs(lake: Lake, instance: dg.DagsterInstance) -> list[SilentRun]:
    """List the unfinished runs on other machines that show no sign of life.

    Such a machine may have lost its connection and still be working, so its runs are not marked as failed.
    """
    silent = []
    for path in _lock_files(lake):
        holder, since_s = read_holder(path), silence_s(path)
        if holder is not None and not holder.is_on_this_machine and since_s > SILENT_AFTER_S:
            run = instance.get_run_by_id(path.name)
            if run is not None and not run.is_finished:
                silent.append(SilentRun(run.run_id, holder, since_s))
    return silent


def _lock_files(lake: Lake) -> list[Path]:
    return sorted(_lock_folder(lake).glob("[!.]*"))


def _lock_folder(lake: Lake) -> Path:
    return lake.dagster / "running"


def beating_daemons(instance: dg.DagsterInstance) -> int:
    """Return the number of daemons that send heartbeats if there are several, otherwise 0.

    All heartbeats of a daemon carry its id. A daemon that was just stopped has left recent heartbeats but sends no new
    ones, so this waits for new ones if there are two ids or more.
    """
    first = _heartbeats(instance)
    if len(first) < 2:
        return 0
    deadline = time.monotonic() + _HEARTBEAT_S
    beating: set[str] = set()
    while len(beating) < 2 and time.monotonic() < deadline:
        time.sleep(1)
        beating |= {daemon for daemon, beat_s in _heartbeats(instance).items() if beat_s > first.get(daemon, 0)}
    return len(beating) if len(beating) > 1 else 0


def _heartbeats(instance: dg.DagsterInstance) -> dict[str, float]:
    """Return the time of each daemon's latest heartbeat, without daemons that have sent none recently."""
    latest: dict[str, float] = {}
    for beat in instance.get_daemon_heartbeats().values():
        if beat.daemon_id and time.time() - beat.timestamp < _HEARTBEAT_S:
            latest[beat.daemon_id] = max(beat.timestamp, latest.get(beat.daemon_id, 0))
    return latest
