"""What one asset hands to the next: places in the lake and names in MLflow, never arrays."""

from typing import Any

from pydantic import Field, model_validator

from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.settings import Settings


class WindowSetValue(Settings):
    """A window set on disk."""

    folder: str
    digest: str = Field(description="names recordings, roles and window settings")


class FoundValue(Settings):
    """The best settings of a search."""

    table: str = Field(description="the trials")
    run_config: str = Field(description="a file with them as run config for `train_forecaster`")
    settings: TrainingSettings
    mlflow_run_id: str


class TrainedValue(Settings):
    """A trained forecaster on disk, and the MLflow run of its training."""

    folder: str = Field(description="holds the checkpoints and what the training ended with")
    settings: TrainingSettings
    window_set_folder: str
    mlflow_run_id: str
    dagster_run_id: str


class EvaluatedValue(Settings):
    """A forecaster's scores."""

    folder: str = Field(description="holds the metrics and, later, the report")
    trained: TrainedValue


class ReportedValue(Settings):
    """A forecaster's report."""

    html: str
    evaluated: EvaluatedValue


class RegisteredValue(Settings):
    """A version in the registry."""

    version: str
    evaluated: EvaluatedValue

    @model_validator(mode="before")
    @classmethod
    def _read_0_1(cls, content: Any) -> Any:
        """Take the evaluation from within the report's value, where version 0.1 kept it."""
        if isinstance(content, dict) and "report" in content:
            content = {"version": content["version"], "evaluated": content["report"]["evaluated"]}
        return content
