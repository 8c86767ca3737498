"""Schedules: the nightly retraining."""

import dagster as dg

from voltpipe.pipeline.jobs import train_forecaster
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retraining_requests import training_request


@dg.schedule(
    job=train_forecaster,
    cron_schedule="0 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
def nightly_retraining(
    context: dg.ScheduleEvaluationContext, lake: LakeResource, tracking: TrackingResource
) -> dg.RunRequest | dg.SkipReason:
    """Start a training at 02:00 if there is any recording that the champion has not learned from."""
    return training_request(context.instance, lake.lake, tracking.store, at_night=True)
