"""Lifecycle of MLflow runs: start, resumption and end, with a status that is always true."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from traceback import clear_frames

from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.tracked_run import TrackedRun

IDENTITY_TAG = "voltpipe.identity"
FAILURE_TAG = "voltpipe.failure"
PARENT_TAG = "mlflow.parentRunId"
"""Run tag that names the parent run, inside which MLflow's pages show the run."""

_FAILURE_LENGTH = 500


@contextmanager
def tracked_run(
    store: TrackingStore,
    *,
    name: str,
    identity: str,
    tags: Mapping[str, str],
    killed_by: tuple[type[BaseException], ...] = (),
    parent: TrackedRun | None = None,
) -> Iterator[TrackedRun]:
    """Resume the run with the same identity, or start one if there is none; set its status when the block ends.

    The status becomes FINISHED; KILLED after KeyboardInterrupt, SystemExit or one of `killed_by`; FAILED after any
    other exception. A process that ends without an exception (kill -9) leaves the run RUNNING, for
    `close_leftover_runs` or for a retry. A process that resumes the run sets its own tags; from then on only that
    process ends the run.

    Args:
        store: the store that keeps the run.
        name: name of the run on MLflow's pages.
        identity: identity of the work, by which a retry finds the run.
        tags: tags of the run; they identify the process that currently writes it.
        killed_by: further exceptions that mean the run was stopped.
        parent: run inside which MLflow's pages show this one.
    """
    nested = {PARENT_TAG: parent.run_id} if parent else {}
    run = _begin(store, name, identity, {**tags, **nested})
    try:
        yield run
    except BaseException as error:
        killed = isinstance(error, (KeyboardInterrupt, SystemExit, *killed_by))
        _end_after(run, tags, error, "KILLED" if killed else "FAILED")
        raise
    store.client.set_terminated(run.run_id, "FINISHED")


def close_leftover_runs(store: TrackingStore, tag: str, value: str, *, status: str = "FAILED") -> tuple[str, ...]:
    """Set the status of RUNNING runs with a tag to FAILED or KILLED, and return their IDs."""
    left = [run.info.run_id for run in store.tagged_runs({tag: value}, status="RUNNING")]
    for run_id in left:
        store.client.set_tag(run_id, FAILURE_TAG, "The process that wrote this run has ended.")
        store.client.set_terminated(run_id, status)
    return tuple(left)


def _begin(store: TrackingStore, name: str, identity: str, tags: Mapping[str, str]) -> TrackedRun:
    found = store.tagged_runs({IDENTITY_TAG: identity})
    if not found:
        begun = store.client.create_run(
            store.experiment_id, tags={**tags, IDENTITY_TAG: identity, "mlflow.source.name": "voltpipe"}, run_name=name
        )
        return TrackedRun(store, begun.info.run_id)
    run = TrackedRun(store, found[0].info.run_id)
    run.set_tags(tags)  # before the status is RUNNING, because `close_leftover_runs` selects by tags
    store.client.update_run(run.run_id, status="RUNNING")
    if FAILURE_TAG in found[0].data.tags:
        store.client.delete_tag(run.run_id, FAILURE_TAG)
    return run


def _end_after(run: TrackedRun, tags: Mapping[str, str], error: BaseException, status: str) -> None:
    from mlflow.exceptions import MlflowException

    # The traceback keeps an interrupted query alive, and with it the lock on SQLite, which would block these writes.
    clear_frames(error.__traceback__)
    try:
        known = run.store.client.get_run(run.run_id).data.tags
        if any(known.get(name) != value for name, value in tags.items()):
            return  # another process has resumed the run
        run.set_tags({FAILURE_TAG: f"{type(error).__name__}: {error}"[:_FAILURE_LENGTH]})
        run.store.client.set_terminated(run.run_id, status)
    except MlflowException as refused:  # must not hide the error that ended the run
        error.add_note(f"MLflow run {run.run_id} could not be marked {status}: {refused}")
