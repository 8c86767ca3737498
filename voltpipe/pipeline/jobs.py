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
    description="Write the page of all recordings anew.",
)
train_forecaster = dg.define_asset_job(
    TRAIN_JOB,
    selection=dg.AssetSelection.groups("windows", "forecasting", "evaluation", "registry")
    | dg.AssetSelection.assets("lake_report"),
    description="From the conditioned recordings to a registered forecaster, and to the champion if the gate lets it.",
)
search_hyperparameters = dg.define_asset_job(
    SEARCH_JOB,
    selection=dg.AssetSelection.groups("windows", "search"),
    description="From the conditioned recordings to the training settings with the lowest validation loss.",
)
forecast_recordings = dg.define_asset_job(
    FORECAST_JOB,
    selection=dg.AssetSelection.groups("forecasts"),
    description="Forecast conditioned recordings with the champion, one partition each.",
)
tidy_lake = dg.define_asset_job(
    TIDY_JOB,
    selection=dg.AssetSelection.groups("housekeeping"),
    description="Say which checkpoints, window sets and old versions have served their time; remove them if told to.",
)
