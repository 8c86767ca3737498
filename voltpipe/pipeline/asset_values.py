"""Values that assets pass to each other, and the IO manager that stores them: paths in the lake and names in MLflow.

A value holds only what downstream assets use, and never arrays. A value that refers to another contains it, so that a
forecaster cannot be registered with the scores of another one.
"""

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, Field, ValidationError, model_validator

from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake.files import read_json, write_json
from voltpipe.lake.paths import Lake
from voltpipe.schema import FrozenModel


class WindowSetValue(FrozenModel):
    """A window set on disk."""

    folder: str
    digest: str = Field(description="Digest of recordings, roles and window settings.")


class SearchValue(FrozenModel):
    """The best settings of a search, or the default settings if there was no search."""

    settings: TrainingSettings
    table: str = Field("", description="Trials as a Markdown table.")
    run_config: str | None = Field(None, description="Path of the settings as run config for `train_forecaster`.")
    mlflow_run_id: str | None = None


class TrainedValue(FrozenModel):
    """A trained forecaster on disk, and the MLflow run of its training."""

    folder: str = Field(description="Folder with the checkpoints and the result of the training.")
    settings: TrainingSettings
    window_set_folder: str
    mlflow_run_id: str
    dagster_run_id: str


class EvaluatedValue(FrozenModel):
    """A trained forecaster and its scores."""

    folder: str = Field(description="Folder with the scores and, later, the report.")
    trained: TrainedValue


class ReportedValue(FrozenModel):
    """A forecaster's report."""

    html: str


class RegisteredValue(FrozenModel):
    """A version in the registry, with the evaluation that a promotion review uses."""

    version: str
    evaluated: EvaluatedValue

    @model_validator(mode="before")
    @classmethod
    def _read_0_1(cls, content: Any) -> Any:
        """Read a value of voltpipe 0.1, which kept the evaluation inside the report's value."""
        if isinstance(content, dict) and "report" in content:
            content = {"version": content["version"], "evaluated": content["report"]["evaluated"]}
        return content


class PromotionValue(FrozenModel):
    """The decision on a candidate, and the champion after it."""

    candidate: str
    promoted: bool
    champion: str | None


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
"""Folder of the lake that holds an asset's value, by asset."""


class JsonIOManager(dg.ConfigurableIOManager):
    """IO manager that stores small pydantic models as JSON files in the lake. Nothing is pickled."""

    root: str = Field(description="Folder of the lake.")

    def handle_output(self, context: dg.OutputContext, obj: BaseModel) -> None:
        """Write the value atomically, once for the run and once as the newest value of the asset."""
        lake, asset, content = Lake(Path(self.root)), context.asset_key.path[-1], obj.model_dump(mode="json")
        write_json(value_path(lake, asset, run_id=context.run_id), content)
        write_json(value_path(lake, asset), content)

    def load_input(self, context: dg.InputContext) -> BaseModel:
        """Read the value as the type that the downstream asset annotates.

        The value of the same run takes precedence, because the newest may be another run's if two trainings overlap.

        Raises:
            dg.Failure: there is no value, or another version of voltpipe wrote it.
        """
        lake, asset = Lake(Path(self.root)), context.asset_key.path[-1]
        path = value_path(lake, asset)
        if (run_id := _run_of(context)) and value_path(lake, asset, run_id=run_id).exists():
            path = value_path(lake, asset, run_id=run_id)
        if not path.exists():
            raise dg.Failure(f"{asset} has no value in this lake. Materialize it first.", allow_retries=False)
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
    """Return the path of an asset's newest value, or of the value that one run made."""
    if run_id:
        return lake.dagster / "storage" / run_id / f"{asset}.json"
    return lake.root / STAGE_FOLDERS[asset] / f"{asset}.json"


def _run_of(context: dg.InputContext) -> str | None:
    """Return the run that made an input: this run or the one that it retries. None if Dagster does not know it."""
    try:
        return context.upstream_output.run_id if context.upstream_output else None
    except dg.DagsterInvariantViolationError:
        return None
