"""Dagster's home in the lake: its creation, its configuration for recovery from crashes, and its instance."""

import os
from pathlib import Path

import dagster as dg
import yaml

from voltpipe.errors import VoltpipeError
from voltpipe.lake.files import atomic_write
from voltpipe.lake.paths import Lake

HOME_VARIABLE = "DAGSTER_HOME"
DAGSTER_CONFIG_FILE = "dagster.yaml"
TRAINING_POOL, REGISTRY_POOL = "training", "registry"

_START_TIMEOUT, _NO_START_TIMEOUT = "start_timeout_seconds: 180\n", "start_timeout_seconds: 0  # runs may queue\n"
_INSTALL = "pip install 'voltpipe[cluster]'"

_CONFIG = """\
# Written by voltpipe on first use. Edit it freely. README.md, "Scaling out", has the lines for Postgres.
telemetry: {enabled: false}
nux: {enabled: false}
# A run whose worker was killed is retried, and resumes from its last checkpoint.
run_retries: {enabled: true, max_retries: 2, retry_on_asset_or_op_failure: false}
run_monitoring:
  enabled: true
  poll_interval_seconds: 10
  start_timeout_seconds: 180
  free_slots_after_run_end_seconds: 30
# A run whose code server has stopped waits for the next one.
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


class DagsterHomeError(VoltpipeError):
    """Configuration or storage of Dagster that cannot be used."""


def prepare_home(lake: Lake) -> Path:
    """Create Dagster's home in the lake if there is none, and set DAGSTER_HOME for this process and its children."""
    lake.dagster.mkdir(parents=True, exist_ok=True)
    config = lake.dagster / DAGSTER_CONFIG_FILE
    if not config.exists():
        with atomic_write(config) as partial:
            partial.write_text(_CONFIG)
    _disable_start_timeout_on_cluster(config)
    os.environ[HOME_VARIABLE] = str(lake.dagster)
    return lake.dagster


def open_instance(lake: Lake) -> dg.DagsterInstance:
    """Open Dagster's instance in the lake.

    Raises:
        DagsterHomeError: dagster.yaml cannot be read, a database driver is missing, or the database does not answer.
    """
    home = prepare_home(lake)
    try:
        return dg.DagsterInstance.from_config(str(home))
    except OSError:
        raise
    except Exception as error:
        raise _home_error(home / DAGSTER_CONFIG_FILE, error) from error


def missing_driver(error: BaseException) -> str | None:
    """Return what to do about a missing database driver; None if the error has another cause."""
    if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
        return "Name the driver in the database's scheme: postgresql+psycopg2 (`scheme:` in dagster.yaml)."
    if isinstance(error, ModuleNotFoundError) or "Couldn't import module" in str(error):
        return f"Install it with: {_INSTALL}."
    return None


def _home_error(config: Path, error: Exception) -> DagsterHomeError:
    if remedy := missing_driver(error):
        return DagsterHomeError(
            f"A database driver that {config} needs is missing: {error}. {remedy}", code="storage-driver-missing"
        )
    cause = error.__cause__ or error
    return DagsterHomeError(
        f"Dagster's storage cannot be opened as configured in {config}: {str(cause).strip()}. "
        "Correct that file, or start the database.",
        code="storage-unusable",
    )


def _disable_start_timeout_on_cluster(config: Path) -> None:
    """Disable the start timeout if runs are launched on a cluster, because time in its queue would count.

    Only the line that voltpipe wrote is changed. Any other timeout is the user's decision.
    """
    text = config.read_text()
    try:
        launcher = (yaml.safe_load(text) or {}).get("run_launcher")
    except (yaml.YAMLError, AttributeError):
        return  # Dagster reports the error when it opens the instance
    to_cluster = isinstance(launcher, dict) and launcher.get("class") != "DefaultRunLauncher"
    if to_cluster and _START_TIMEOUT in text:
        with atomic_write(config) as partial:
            partial.write_text(text.replace(_START_TIMEOUT, _NO_START_TIMEOUT))
