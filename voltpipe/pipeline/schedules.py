"""Retraining by the clock."""

import dagster as dg

from voltpipe.lake import Lake
from voltpipe.pipeline.jobs import train_forecaster
from voltpipe.pipeline.resources import LakeResource
from voltpipe.recordings.store import conditioned_recordings
from voltpipe.windows.manifest import SplitManifest


@dg.schedule(
    job=train_forecaster,
    cron_schedule="0 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def nightly_retraining(context: dg.ScheduleEvaluationContext, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
    """Train again at night, if recordings came or changed since the last split."""
    new = new_recordings(lake.lake)
    if not new:
        return dg.SkipReason("no recording came or changed since the last training")
    return dg.RunRequest(tags={"voltpipe/reason": f"{len(new)} new or changed recordings"})


def new_recordings(lake: Lake) -> list[str]:
    """Conditioned recordings that the last split does not know, or knows with other content."""
    manifest = SplitManifest.load(lake.windows)
    known = {recording.key: recording.digest for recording in manifest.recordings} if manifest else {}
    excluded = manifest.excluded if manifest else {}
    return [
        key
        for key, recording in conditioned_recordings(lake).items()
        if key not in excluded and known.get(key) != recording.digest
    ]
