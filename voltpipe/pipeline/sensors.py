"""Sensors that keep the lake's page and Dagster's runs up to date."""

import dagster as dg

from voltpipe.pipeline.dead_runs import bury_dead_runs
from voltpipe.pipeline.resources import LakeResource, TrackingResource

lake_changes = dg.AutomationConditionSensorDefinition(
    "lake_changes",
    target=dg.AssetSelection.assets("lake_report"),
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Rewrites the page of all recordings when a recording is judged or the split changes.",
)


@dg.sensor(minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def dead_runs(context: dg.SensorEvaluationContext, lake: LakeResource, tracking: TrackingResource) -> dg.SkipReason:
    """Mark the Dagster and MLflow runs of killed processes as failed."""
    buried = bury_dead_runs(lake.lake, context.instance, tracking.store)
    return dg.SkipReason(f"runs ended because their process is gone: {', '.join(buried) or 'none'}")
