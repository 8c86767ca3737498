"""Named selections of the asset graph that are run together."""

import dagster as dg

INGEST_JOB = "ingest_recordings"
SEARCH_JOB = "search_hyperparameters"
TRAIN_JOB = "train_forecaster"

ingest_recordings = dg.define_asset_job(
    INGEST_JOB,
    selection=dg.AssetSelection.groups("recordings"),
    description="Inspect and condition raw recordings, one partition each.",
)
train_forecaster = dg.define_asset_job(
    TRAIN_JOB,
    selection=dg.AssetSelection.groups("windows", "forecasting", "evaluation", "registry"),
    description="From the conditioned recordings to a registered forecaster, and to the champion if the gate lets it.",
)
search_hyperparameters = dg.define_asset_job(
    SEARCH_JOB,
    selection=dg.AssetSelection.groups("windows", "search"),
    description="From the conditioned recordings to the training settings with the lowest validation loss.",
)
