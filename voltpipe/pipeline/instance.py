"""Dagster's home in the lake: made once, with settings that survive crashes, and opened from there only."""

import os
from pathlib import Path

import dagster as dg

from voltpipe.files import written_whole
from voltpipe.lake import Lake

HOME_VARIABLE = "DAGSTER_HOME"
CONFIG_FILE = "dagster.yaml"
TRAINING_POOL, REGISTRY_POOL = "training", "registry"

_CONFIG = """\
# Written by voltpipe on first use; yours to change, for example `storage` from SQLite to Postgres.
telemetry: {enabled: false}
nux: {enabled: false}
# A run whose worker was killed starts again and resumes from its last checkpoint.
run_retries: {enabled: true, max_retries: 2, retry_on_asset_or_op_failure: false}
run_monitoring:
  enabled: true
  poll_interval_seconds: 10
  start_timeout_seconds: 180
  free_slots_after_run_end_seconds: 30
# A run whose code server is gone waits for the next one.
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config: {max_user_code_failure_retries: 40, user_code_failure_retry_delay: 5}
concurrency:
  runs: {max_concurrent_runs: 4}
  # One training at a time.
  pools: {granularity: op, default_limit: 1}
sensors: {use_threads: true, num_workers: 4, num_submit_workers: 4}
retention:
  sensor: {purge_after_days: {skipped: 7, failure: 30, success: -1}}
"""


def prepare_home(lake: Lake) -> Path:
    """Make Dagster's home in the lake if there is none, and name it in this process and those it starts."""
    lake.dagster.mkdir(parents=True, exist_ok=True)
    config = lake.dagster / CONFIG_FILE
    if not config.exists():
        with written_whole(config) as aside:
            aside.write_text(_CONFIG)
    os.environ[HOME_VARIABLE] = str(lake.dagster)
    return lake.dagster


def open_instance(lake: Lake) -> dg.DagsterInstance:
    """Dagster's instance in the lake."""
    return dg.DagsterInstance.from_config(str(prepare_home(lake)))
