"""Tags that link runs of Dagster and MLflow to each other."""

DAGSTER_RUN_TAG = "dagster.run_id"
"""On an MLflow run: the Dagster run that wrote it last."""
DAGSTER_LINK_TAG = "dagster.run_page"
MLFLOW_RUN_TAG = "mlflow/run_id"
"""On a Dagster run: the MLflow run of its training."""

SCHEDULE_TAG, SENSOR_TAG = "dagster/schedule_name", "dagster/sensor_name"
"""On a Dagster run: what asked for it. Dagster sets these tags, but exports their names from private modules only."""
