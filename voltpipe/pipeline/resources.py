"""What assets are given: the lake, the tracking store, and values that pass from asset to asset as JSON.

A resource is a thin shell around a plain object of a lower layer; nothing is computed here.
"""

from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field, ValidationError

from voltpipe.files import read_json, write_json
from voltpipe.lake import Lake
from voltpipe.tracking.run import TrackedRun
from voltpipe.tracking.store import TrackingStore
from voltpipe.tracking.ui import artifact_page, run_page, version_page

STAGE_FOLDERS = {
    "recording_split": "windows",
    "window_set": "windows",
    "found_settings": "searches",
    "trained_forecaster": "checkpoints",
    "forecast_evaluation": "reports",
    "evaluation_report": "reports",
    "registered_forecaster": "mlflow",
    "champion_forecaster": "mlflow",
}
"""Which folder of the lake holds an asset's value."""


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


class JsonValues(dg.ConfigurableIOManager):
    """Passes small pydantic models from asset to asset as JSON files in the lake. Nothing is pickled."""

    root: str = Field(description="the lake's folder")

    def handle_output(self, context: dg.OutputContext, obj: BaseModel) -> None:
        """Write the value whole, in the folder of the asset's stage, and among the run's own."""
        lake, asset, content = Lake(Path(self.root)), context.asset_key.path[-1], obj.model_dump(mode="json")
        write_json(value_path(lake, asset, run_id=context.run_id), content)
        write_json(value_path(lake, asset), content)

    def load_input(self, context: dg.InputContext) -> BaseModel:
        """Read the value as the type with which the downstream asset annotates it.

        The value of the same run comes first: where two trainings overlap, the newest is another run's.
        """
        lake, asset = Lake(Path(self.root)), context.asset_key.path[-1]
        path = value_path(lake, asset)
        if (run_id := _made_by(context)) and value_path(lake, asset, run_id=run_id).exists():
            path = value_path(lake, asset, run_id=run_id)
        if not path.exists():
            raise dg.Failure(f"{asset} is not in this lake yet. Materialize it first.", allow_retries=False)
        model = context.dagster_type.typing_type
        assert issubclass(model, BaseModel)
        try:
            value: BaseModel = model.model_validate(read_json(path))
        except ValidationError as error:
            raise dg.Failure(
                f"{path} was written by another version of voltpipe. Materialize {asset} again.", allow_retries=False
            ) from error
        return value


def value_path(lake: Lake, asset: str, *, run_id: str | None = None) -> Path:
    """Return where the newest value of an asset is kept in the lake, or the value that one run made."""
    if run_id:
        return lake.dagster / "storage" / run_id / f"{asset}.json"
    return lake.root / STAGE_FOLDERS[asset] / f"{asset}.json"


def _made_by(context: dg.InputContext) -> str | None:
    """Return the run that made an input: this run, or the run that it retries. None if Dagster does not know it."""
    try:
        return context.upstream_output.run_id if context.upstream_output else None
    except dg.DagsterInvariantViolationError:
        return None
