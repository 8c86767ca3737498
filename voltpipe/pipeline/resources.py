"""Resources of the assets: the lake and the tracking store.

A resource wraps a plain object of a lower layer and computes nothing.
"""

from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from voltpipe.lake.paths import Lake
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.mlflow_ui import artifact_page, run_page, version_page
from voltpipe.tracking.tracked_run import TrackedRun


class LakeResource(dg.ConfigurableResource[Any]):
    """The data lake."""

    root: str = Field(description="Folder of the lake.")

    @property
    def lake(self) -> Lake:
        """The lake as a plain object."""
        return Lake(Path(self.root))


class TrackingResource(dg.ConfigurableResource[Any]):
    """MLflow's store, and the addresses of Dagster's and MLflow's pages."""

    folder: str = Field(description="Folder of the embedded store.")
    tracking_uri: str | None = Field(
        default=None, description="Address of an MLflow server that replaces the embedded store."
    )
    dagster_url: str = Field(description="Address of Dagster's pages.")
    mlflow_url: str = Field(description="Address of MLflow's pages.")

    @property
    def store(self) -> TrackingStore:
        """The store as a plain object; one per process, because sensors use it at every tick."""
        return _store(Path(self.folder), self.tracking_uri)

    def dagster_run_link(self, run_id: str) -> str:
        """Return the address of a Dagster run's page."""
        return f"{self.dagster_url}/runs/{run_id}"

    def mlflow_run_link(self, run_id: str) -> str:
        """Return the address of an MLflow run's page."""
        return run_page(self.mlflow_url, TrackedRun(self.store, run_id))

    def artifact_link(self, run_id: str, path: str) -> str:
        """Return the address of an artifact of an MLflow run."""
        return artifact_page(self.mlflow_url, TrackedRun(self.store, run_id), path)

    def version_link(self, version: str) -> str:
        """Return the address of a version in the registry."""
        return version_page(self.mlflow_url, version)


@cache
def _store(folder: Path, tracking_uri: str | None) -> TrackingStore:
    return TrackingStore(folder, tracking_uri)
