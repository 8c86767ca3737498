"""What happens by itself when something changes: a raw file arrives, a run dies."""

import json
import time

import dagster as dg

from voltpipe.lake import Lake, RecordingKey
from voltpipe.pipeline.jobs import ingest_recordings
from voltpipe.pipeline.partitions import RECORDINGS, recording_keys
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.run_tags import DAGSTER_RUN_TAG
from voltpipe.recordings.raw import find_raw, is_being_written, raw_state
from voltpipe.tracking.lifecycle import close_leftover_runs

QUIET_S = 5.0
"""A file that changed less than this ago may still be growing, and is left for the next tick."""


@dg.sensor(job=ingest_recordings, minimum_interval_seconds=15, default_status=dg.DefaultSensorStatus.RUNNING)
def raw_recordings(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    """Each new or changed raw file becomes a partition and is conditioned, once it no longer grows."""
    seen: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
    listing = find_raw(lake.lake)
    paths = {str(key): path for key, path in listing.found.items()}
    current = {key: raw_state(path) for key, path in paths.items()}
    if unseen := current.keys() - seen.keys():
        seen |= {key: current[key] for key in unseen & _judged(context.instance, lake.lake, current)}
    changed = [key for key, state in sorted(current.items()) if seen.get(key) != state]
    quiet = [key for key in changed if _quiet_for_s(current[key]) >= QUIET_S]
    ready = [key for key in quiet if not is_being_written(paths[key])]
    if not ready:
        context.update_cursor(json.dumps(seen))
        waiting = f", {len(changed)} still growing" if changed else ""
        refused = f", {len(listing.refused)} not usable: {listing.refused}" if listing.refused else ""
        return dg.SkipReason(f"no new raw file; {len(current)} known{waiting}{refused}")
    new = sorted(set(ready) - set(recording_keys(context.instance)))
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=f"{key}:{current[key]}", partition_key=key) for key in ready],
        dynamic_partitions_requests=[RECORDINGS.build_add_request(new)] if new else [],
        cursor=json.dumps(
            {**{key: seen[key] for key in seen if key in current}, **{key: current[key] for key in ready}}
        ),
    )


def _judged(instance: dg.DagsterInstance, lake: Lake, states: dict[str, str]) -> set[str]:
    """Recordings that were conditioned or quarantined since their file last changed, by a command or a click."""
    materialized = instance.get_materialized_partitions(dg.AssetKey("conditioned_recording"))
    judged = set()
    for key in materialized & states.keys():
        parsed = RecordingKey.parse(key)
        verdicts = [path for path in (lake.conditioned_path(parsed), lake.quarantine_path(parsed)) if path.exists()]
        if any(path.stat().st_mtime > float(states[key].partition(":")[0]) for path in verdicts):
            judged.add(key)
    return judged


def _quiet_for_s(state: str) -> float:
    return time.time() - float(state.partition(":")[0])


def _close(context: dg.RunStatusSensorContext, tracking: TrackingResource, status: str) -> dg.SkipReason | None:
    closed = close_leftover_runs(tracking.store, DAGSTER_RUN_TAG, context.dagster_run.run_id, status=status)
    return None if closed else dg.SkipReason("it left no MLflow run open")


@dg.run_status_sensor(run_status=dg.DagsterRunStatus.FAILURE, default_status=dg.DefaultSensorStatus.RUNNING)
def mlflow_after_failure(context: dg.RunStatusSensorContext, tracking: TrackingResource) -> dg.SkipReason | None:
    """A killed process cannot close its MLflow run, so its Dagster run's end does."""
    return _close(context, tracking, "FAILED")


@dg.run_status_sensor(run_status=dg.DagsterRunStatus.CANCELED, default_status=dg.DefaultSensorStatus.RUNNING)
def mlflow_after_cancellation(context: dg.RunStatusSensorContext, tracking: TrackingResource) -> dg.SkipReason | None:
    """Likewise after a termination."""
    return _close(context, tracking, "KILLED")
