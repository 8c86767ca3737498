"""When an MLflow run begins, goes on and ends: its status always tells the truth."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from traceback import clear_frames

from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.tracked_run import TrackedRun

IDENTITY_TAG = "voltpipe.identity"
FAILURE_TAG = "voltpipe.failure"
PARENT_TAG = "mlflow.parentRunId"
"""MLflow's pages show a run that bears it inside the run that it names."""

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
    """A run that goes on where one of the same identity stopped, or else begins.

    It is shown inside `parent`, if there is one. It ends FINISHED; KILLED after KeyboardInterrupt, SystemExit or one of
    `killed_by`; FAILED after any other exception. What no exception tells of (kill -9) is left RUNNING for
    `close_leftover_runs`, or for the retry. Who goes on with it sets tags of its own, and ends it from then on.
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
    """Give `status` (FAILED or KILLED) to RUNNING runs that bear a tag, and return their ids."""
    left = [run.info.run_id for run in store.tagged_runs({tag: value}, status="RUNNING")]
    for run_id in left:
        store.client.set_tag(run_id, FAILURE_TAG, "the process that wrote this run is gone")
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
    run.set_tags(tags)  # before it is RUNNING: whoever closes leftovers looks at them
    store.client.update_run(run.run_id, status="RUNNING")
    if FAILURE_TAG in found[0].data.tags:
        store.client.delete_tag(run.run_id, FAILURE_TAG)
    return run


def _end_after(run: TrackedRun, tags: Mapping[str, str], error: BaseException, status: str) -> None:
    from mlflow.exceptions import MlflowException

    # A query that was interrupted lives on in the traceback, and keeps SQLite locked for what is written now.
    clear_frames(error.__traceback__)
    try:
        known = run.store.client.get_run(run.run_id).data.tags
        if any(known.get(name) != value for name, value in tags.items()):
            return  # somebody else goes on with it
        run.set_tags({FAILURE_TAG: f"{type(error).__name__}: {error}"[:_FAILURE_LENGTH]})
        run.store.client.set_terminated(run.run_id, status)
    except MlflowException as refused:  # the error that matters is the one that ended the run
        error.add_note(f"MLflow run {run.run_id} could not be marked {status}: {refused}")
