"""Named selections of the asset graph that are run together."""

import dagster as dg

FORECAST_JOB = "forecast_recordings"
INGEST_JOB = "ingest_recordings"
LAKE_REPORT_JOB = "report_lake"
SEARCH_JOB = "search_hyperparameters"
TIDY_JOB = "tidy_lake"
TRAIN_JOB = "train_forecaster"

ingest_recordings = dg.define_asset_job(
    INGEST_JOB,
    selection=dg.AssetSelection.assets("raw_recording", "conditioned_recording"),
    description="Inspect and condition raw recordings, one partition each.",
)
report_lake = dg.define_asset_job(
    LAKE_REPORT_JOB,
    selection=dg.AssetSelection.assets("lake_report"),
    description="Rewrite the page of all recordings.",
)
train_forecaster = dg.define_asset_job(
    TRAIN_JOB,
    selection=dg.AssetSelection.groups("windows", "forecasting", "evaluation", "registry")
    - dg.AssetSelection.assets("found_settings")
    | dg.AssetSelection.assets("lake_report"),
    description="Train, evaluate and register a forecaster, and review whether it becomes champion.",
)
search_hyperparameters = dg.define_asset_job(
    SEARCH_JOB,
    selection=dg.AssetSelection.groups("windows") | dg.AssetSelection.assets("found_settings"),
    description="Search for the training settings with the lowest validation loss.",
)
forecast_recordings = dg.define_asset_job(
    FORECAST_JOB,
    selection=dg.AssetSelection.assets("recording_forecast"),
    description="Forecast conditioned recordings with the champion, one partition each.",
)
tidy_lake = dg.define_asset_job(
    TIDY_JOB,
    selection=dg.AssetSelection.assets("tidied_lake"),
    description="List the checkpoints, window sets and old versions that are no longer needed. Remove them if told to.",
)


TRAINED_KEY = dg.AssetKey("trained_forecaster")


CONDITIONED_KEY = dg.AssetKey("conditioned_recording")
