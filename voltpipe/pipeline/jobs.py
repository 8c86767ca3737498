"""Jobs, which are named selections of the asset graph, and the asset keys that other modules refer to."""

import dagster as dg

CONDITIONED_KEY = dg.AssetKey("conditioned_recording")
TRAINED_KEY = dg.AssetKey("trained_forecaster")

INGEST_JOB = "ingest_recordings"
LAKE_REPORT_JOB = "report_lake"
TRAIN_JOB = "train_forecaster"
SEARCH_JOB = "search_hyperparameters"
FORECAST_JOB = "forecast_recordings"
TIDY_JOB = "tidy_lake"

ingest_recordings = dg.define_asset_job(
    INGEST_JOB,
    selection=dg.AssetSelection.assets("raw_recording", CONDITIONED_KEY),
    description="Inspect and condition raw recordings. Each recording is a partition.",
)
report_lake = dg.define_asset_job(
    LAKE_REPORT_JOB,
    selection=dg.AssetSelection.assets("lake_report"),
    description="Rewrite the lake report, the page of all recordings.",
)
train_forecaster = dg.define_asset_job(
    TRAIN_JOB,
    selection=dg.AssetSelection.groups("windows", "forecasting", "evaluation", "registry")
    - dg.AssetSelection.assets("found_settings")
    | dg.AssetSelection.assets("lake_report"),
    description="Train, evaluate and register a forecaster, and review it for promotion to champion.",
)
search_hyperparameters = dg.define_asset_job(
    SEARCH_JOB,
    selection=dg.AssetSelection.groups("windows") | dg.AssetSelection.assets("found_settings"),
    description="Search for the training settings with the lowest validation loss.",
)
forecast_recordings = dg.define_asset_job(
    FORECAST_JOB,
    selection=dg.AssetSelection.assets("recording_forecast"),
    description="Forecast conditioned recordings with the champion. Each recording is a partition.",
)
tidy_lake = dg.define_asset_job(
    TIDY_JOB,
    selection=dg.AssetSelection.assets("tidied_lake"),
    description="List expired checkpoints, window sets and versions. Delete them if `dry_run` is off.",
)
