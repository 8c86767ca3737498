"""Runs that wait or work."""

from collections.abc import Sequence

import dagster as dg

_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED]


def unfinished_runs(instance: dg.DagsterInstance, job_name: str | None = None) -> Sequence[dg.DagsterRun]:
    """Runs that have not ended, of one job or of all; the newest first."""
    return instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=_UNFINISHED))
