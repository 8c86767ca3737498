"""MLflow's own pages: the command that serves them, and links into them."""

import sys

from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.tracked_run import TrackedRun

_LAYOUT = "?workflowType=machine_learning"
"""Query without which MLflow lays its pages out for chat traces."""


def server_command(store: TrackingStore, *, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """Return the command that serves MLflow's pages from a database or the embedded store, without its job workers."""
    return [
        *("env", "MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"),
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", store.uri),
        *("--artifacts-destination", store.artifacts_uri),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def run_page(address: str, run: TrackedRun) -> str:
    """Return the link to a run in the pages served at `address` (http://host:port)."""
    return f"{address}/#/experiments/{run.store.experiment_id}/runs/{run.run_id}{_LAYOUT}"


def artifact_page(address: str, run: TrackedRun, path: str) -> str:
    """Return the link to an artifact of a run; `path` is relative to the run's artifacts."""
    return f"{address}/#/experiments/{run.store.experiment_id}/runs/{run.run_id}/artifacts/{path}{_LAYOUT}"


def version_page(address: str, version: str) -> str:
    """Return the link to a version of the registered forecaster in the pages served at `address`."""
    from voltpipe.tracking.model_registry import MODEL_NAME

    return f"{address}/#/models/{MODEL_NAME}/versions/{version}{_LAYOUT}"
