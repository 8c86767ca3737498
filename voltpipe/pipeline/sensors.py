"""What happens by itself when a process dies: its runs are ended; and when recordings were judged: their page."""

import dagster as dg

from voltpipe.pipeline.dead_runs import bury_dead_runs
from voltpipe.pipeline.resources import LakeResource, TrackingResource

lake_changes = dg.AutomationConditionSensorDefinition(
    "lake_changes",
    target=dg.AssetSelection.assets("lake_report"),
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes the page of all recordings anew when any was judged, or when they were split.",
)


@dg.sensor(minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def dead_runs(context: dg.SensorEvaluationContext, lake: LakeResource, tracking: TrackingResource) -> dg.SkipReason:
    """A killed process closes neither its Dagster run nor its MLflow run, so they are closed here."""
    buried = bury_dead_runs(lake.lake, context.instance, tracking.store)
    return dg.SkipReason(f"ended, their process being gone: {', '.join(buried) or 'none'}")
