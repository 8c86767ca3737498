"""In-process runs of jobs on the lake's own Dagster instance, so that the UI shows them."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

import dagster as dg

from voltpipe.errors import VoltpipeError
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.dagster_home import open_instance
from voltpipe.pipeline.jobs import INGEST_JOB, LAKE_REPORT_JOB, SEARCH_JOB, TRAIN_JOB
from voltpipe.pipeline.partitions import RECORDINGS, batches, range_tags, recording_keys
from voltpipe.pipeline.pool_waits import announced_pool_waits
from voltpipe.pipeline.runs import fail_orphaned_runs, hold_run_lock
from voltpipe.tracking.mlflow_store import TrackingStore

_INTERRUPTED = "It was interrupted. Repeat the command to resume it."
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunError(VoltpipeError):
    """A failed run, with the message of the step that failed first."""


class Launcher:
    """Launcher of jobs on one lake.

    Args:
        lake: the lake; its Dagster home is created if it is missing.
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.instance = open_instance(lake)
        self._definitions = build_definitions(lake)
        fail_orphaned_runs(lake, self.instance, TrackingStore.of(lake))

    def ingest(self, keys: Iterable[RecordingKey]) -> None:
        """Inspect and condition raw recordings, and rewrite the lake report.

        A recording that is quarantined is not a failure; its verdict is in the lake.
        """
        wanted = {str(key) for key in keys}
        self.instance.add_dynamic_partitions(RECORDINGS.name or "", sorted(wanted))
        for batch in batches(recording_keys(self.instance), wanted):
            self._run(INGEST_JOB, {}, range_tags(batch))
        self._run(LAKE_REPORT_JOB, {})

    def train(self, *, split: Mapping[str, Any], training: Mapping[str, Any]) -> str:
        """Materialize everything from the split to the registry; return the run's id.

        Args:
            split: settings of `recording_split` that differ from their defaults.
            training: settings of `trained_forecaster` that differ from their defaults.

        Raises:
            RunError: a step failed.
        """
        ops = {"recording_split": {"config": dict(split)}, "trained_forecaster": {"config": dict(training)}}
        return self._run(TRAIN_JOB, {"ops": ops})

    def search(self, *, split: Mapping[str, Any], search: Mapping[str, Any]) -> str:
        """Materialize the split, the window set and the settings of a search on it; return the run's id.

        Args:
            split: settings of `recording_split` that differ from their defaults.
            search: settings of `found_settings` that differ from their defaults.

        Raises:
            RunError: a step failed.
        """
        ops = {"recording_split": {"config": dict(split)}, "found_settings": {"config": dict(search)}}
        return self._run(SEARCH_JOB, {"ops": ops})

    def _run(self, job_name: str, run_config: dict[str, Any], tags: Mapping[str, str] | None = None) -> str:
        job = self._definitions.resolve_job_def(job_name)
        run_id = str(uuid4())
        with hold_run_lock(self.lake, run_id), announced_pool_waits(self.lake, self.instance, run_id):
            result = job.execute_in_process(
                run_config={**_QUIET, **run_config},
                instance=self.instance,
                tags=tags,
                run_id=run_id,
                raise_on_error=False,
            )
        if not result.success:
            cause = _cause(result)
            message = f"{job_name} failed. The log is in the Dagster UI under run {run_id}. {cause}".strip()
            if cause == _INTERRUPTED:
                self._report_canceled(run_id)
                raise RunError(message, code="run-interrupted")
            raise RunError(message, code="run-failed")
        return run_id

    def _report_canceled(self, run_id: str) -> None:
        """Correct the status. Dagster reports an interruption as a failure unless it was requested in the UI."""
        run = self.instance.get_run_by_id(run_id)
        if run is not None and run.status is dg.DagsterRunStatus.FAILURE:
            self.instance.report_run_canceled(run, "The process that executed this run was interrupted.")


def register_raw_recordings(lake: Lake, instance: dg.DagsterInstance) -> None:
    """Register each raw recording of the lake as a partition."""
    from voltpipe.recordings.raw.raw_folder import list_raw

    instance.add_dynamic_partitions(RECORDINGS.name or "", [str(key) for key in sorted(list_raw(lake).found)])


def _cause(result: dg.ExecuteInProcessResult) -> str:
    """Return the message of the step that failed first, without Dagster's own text around it."""
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
                return _INTERRUPTED
            if error is not None:
                text = error.message.strip()
                return f"{event.step_key}: {text.partition(f'{error.cls_name}: ')[2] or text}"
    return ""
