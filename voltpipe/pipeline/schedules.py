"""Automatic retraining: when enough is new, when the champion's skill decays, and at night if anything is new.

`retraining.yaml` in Dagster's home says what is enough. It is read at every tick.
"""

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
    """Train again at night, if anything is new to the champion."""
    return training_request(context.instance, lake.lake, tracking.store, at_night=True)
