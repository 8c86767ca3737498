"""What one asset hands to the next: places in the lake and names in MLflow, never arrays.

Each value holds what the assets that take it use, and nothing else. A value that names another is read together with
it, so that a forecaster is never registered with the scores of another one.
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
    digest: str = Field(description="names recordings, roles and window settings")


class SearchValue(FrozenModel):
    """The best settings of a search, or the default settings where no search was asked for."""

    settings: TrainingSettings
    table: str = Field("", description="the trials as a Markdown table")
    run_config: str | None = Field(None, description="a file with the settings as run config for `train_forecaster`")
    mlflow_run_id: str | None = None


class TrainedValue(FrozenModel):
    """A trained forecaster on disk, and the MLflow run of its training."""

    folder: str = Field(description="holds the checkpoints and what the training ended with")
    settings: TrainingSettings
    window_set_folder: str
    mlflow_run_id: str
    dagster_run_id: str


class EvaluatedValue(FrozenModel):
    """A forecaster's scores, and the forecaster they were measured on."""

    folder: str = Field(description="holds the scores and, later, the report")
    trained: TrainedValue


class ReportedValue(FrozenModel):
    """A forecaster's report."""

    html: str


class RegisteredValue(FrozenModel):
    """A version in the registry, and what a promotion review compares it by."""

    version: str
    evaluated: EvaluatedValue

    @model_validator(mode="before")
    @classmethod
    def _read_0_1(cls, content: Any) -> Any:
        """Take the evaluation from within the report's value, where version 0.1 kept it."""
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
"""Which folder of the lake holds an asset's value."""


class JsonIOManager(dg.ConfigurableIOManager):
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
