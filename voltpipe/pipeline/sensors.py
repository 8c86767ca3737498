"""What happens by itself when a run dies: MLflow is told; and when recordings were judged: their page is written."""

import dagster as dg

from voltpipe.pipeline.resources import TrackingResource
from voltpipe.pipeline.run_tags import DAGSTER_RUN_TAG
from voltpipe.tracking.lifecycle import close_leftover_runs

lake_changes = dg.AutomationConditionSensorDefinition(
    "lake_changes",
    target=dg.AssetSelection.assets("lake_report"),
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes the page of all recordings anew when any was judged, or when they were split.",
)


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
