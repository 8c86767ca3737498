"""What assets are given: the lake, the tracking store, and values that pass from asset to asset as JSON.

A resource is a thin shell around a plain object of a lower layer; nothing is computed here.
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

    root: str = Field(description="the lake's folder")

    @property
    def lake(self) -> Lake:
        """The lake as the layers below know it."""
        return Lake(Path(self.root))


class TrackingResource(dg.ConfigurableResource[Any]):
    """MLflow's store, and the addresses under which the pages are linked."""

    folder: str = Field(description="the folder that holds the embedded store")
    tracking_uri: str | None = Field(default=None, description="an MLflow server, instead of the embedded store")
    dagster_url: str = Field(description="where Dagster's pages are served")
    mlflow_url: str = Field(description="where MLflow's pages are served")

    @property
    def store(self) -> TrackingStore:
        """The store as the tracking layer knows it; one a process, as sensors ask for it at every tick."""
        return _store(Path(self.folder), self.tracking_uri)

    def dagster_run_link(self, run_id: str) -> str:
        """The page of a Dagster run."""
        return f"{self.dagster_url}/runs/{run_id}"

    def mlflow_run_link(self, run_id: str) -> str:
        """The page of an MLflow run."""
        return run_page(self.mlflow_url, TrackedRun(self.store, run_id))

    def artifact_link(self, run_id: str, path: str) -> str:
        """The page of an artifact of an MLflow run."""
        return artifact_page(self.mlflow_url, TrackedRun(self.store, run_id), path)

    def version_link(self, version: str) -> str:
        """The page of a version in the registry."""
        return version_page(self.mlflow_url, version)


@cache
def _store(folder: Path, tracking_uri: str | None) -> TrackingStore:
    return TrackingStore(folder, tracking_uri)
