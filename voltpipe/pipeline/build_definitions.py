"""The asset graph of one lake, with its resources, jobs, sensors, schedules and executor.

Executor and run launcher are configured outside the code. The environment variable VOLTPIPE_EXECUTOR names the executor
of all runs as `module:attribute`, for example `dagster:multiprocess_executor` or `dagster_k8s:k8s_job_executor`.
Without it, all steps of a run share the run's process. The run launcher is Dagster's own setting `run_launcher` in the
lake's `dagster/dagster.yaml`.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import dagster as dg

from voltpipe.errors import VoltpipeError
from voltpipe.lake.paths import Lake
from voltpipe.pipeline import schedules, sensors
from voltpipe.pipeline.asset_values import JsonIOManager
from voltpipe.pipeline.assets import (
    evaluation,
    forecasts,
    housekeeping,
    hyperparameters,
    monitoring,
    recordings,
    registry,
    training,
    windows,
)
from voltpipe.pipeline.assets import lake as lake_assets
from voltpipe.pipeline.jobs import (
    forecast_recordings,
    ingest_recordings,
    report_lake,
    search_hyperparameters,
    tidy_lake,
    train_forecaster,
)
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.runs import lake_executor
from voltpipe.tracking.mlflow_store import TrackingStore

DAGSTER_URL_VARIABLE, MLFLOW_URL_VARIABLE = "VOLTPIPE_DAGSTER_URL", "VOLTPIPE_MLFLOW_URL"
EXECUTOR_VARIABLE = "VOLTPIPE_EXECUTOR"


class ExecutorError(VoltpipeError):
    """Executor that cannot be used."""


def build_definitions(lake: Lake, *, resources: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Return the asset graph on a lake.

    Args:
        lake: the data lake.
        resources: resources that replace the default ones of the same name.
    """
    defaults = {
        "lake": LakeResource(root=str(lake.root)),
        "io_manager": JsonIOManager(root=str(lake.root)),
        "tracking": TrackingResource(
            folder=str(lake.mlflow),
            tracking_uri=TrackingStore.of(lake).tracking_uri,
            dagster_url=os.environ.get(DAGSTER_URL_VARIABLE, "http://127.0.0.1:3000"),
            mlflow_url=os.environ.get(MLFLOW_URL_VARIABLE, "http://127.0.0.1:5000"),
        ),
    }
    assets = dg.load_assets_from_modules(
        [
            recordings,
            windows,
            lake_assets,
            hyperparameters,
            training,
            evaluation,
            registry,
            monitoring,
            forecasts,
            housekeeping,
        ]
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=dg.load_asset_checks_from_modules([training]),
        resources={**defaults, **(resources or {})},
        jobs=[
            ingest_recordings,
            report_lake,
            train_forecaster,
            search_hyperparameters,
            forecast_recordings,
            tidy_lake,
        ],
        schedules=[schedules.nightly_retraining],
        sensors=[
            sensors.raw_recordings,
            sensors.lake_changes,
            sensors.live_scoring,
            sensors.retraining,
            sensors.policy_changes,
            sensors.orphaned_runs,
        ],
        executor=lake_executor(lake, configured_executor()),
    )


def configured_executor() -> dg.ExecutorDefinition:
    """Return the executor that VOLTPIPE_EXECUTOR names, or the in-process executor.

    Raises:
        ExecutorError: the variable does not name an executor.
    """
    name = os.environ.get(EXECUTOR_VARIABLE)
    if not name:
        return dg.in_process_executor
    module, _, attribute = name.partition(":")
    try:
        executor = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ExecutorError(
            f"{EXECUTOR_VARIABLE}={name} cannot be imported: {error}. "
            "Expected module:attribute, for example dagster:multiprocess_executor. Correct it, or unset it.",
            code="executor-unknown",
        ) from error
    if not isinstance(executor, dg.ExecutorDefinition):
        raise ExecutorError(
            f"{EXECUTOR_VARIABLE}={name} is a {type(executor).__name__}, not an executor. "
            "Expected module:attribute, for example dagster:multiprocess_executor. Correct it, or unset it.",
            code="executor-unknown",
        )
    return executor
