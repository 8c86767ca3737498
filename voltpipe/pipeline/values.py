"""What one asset hands to the next: places in the lake and names in MLflow, never arrays.

Each value holds what the assets that take it use, and nothing else. A value that names another is read together with
it, so that a forecaster is never registered with the scores of another one.
"""

from typing import Any

from pydantic import Field, model_validator

from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.settings import Settings


class WindowSetValue(Settings):
    """A window set on disk."""

    folder: str
    digest: str = Field(description="names recordings, roles and window settings")


class FoundValue(Settings):
    """The best settings of a search, or the default settings where no search was asked for."""

    settings: TrainingSettings
    table: str = Field("", description="the trials as a Markdown table")
    run_config: str | None = Field(None, description="a file with the settings as run config for `train_forecaster`")
    mlflow_run_id: str | None = None


class TrainedValue(Settings):
    """A trained forecaster on disk, and the MLflow run of its training."""

    folder: str = Field(description="holds the checkpoints and what the training ended with")
    settings: TrainingSettings
    window_set_folder: str
    mlflow_run_id: str
    dagster_run_id: str


class EvaluatedValue(Settings):
    """A forecaster's scores, and the forecaster they were measured on."""

    folder: str = Field(description="holds the scores and, later, the report")
    trained: TrainedValue


class ReportedValue(Settings):
    """A forecaster's report."""

    html: str


class RegisteredValue(Settings):
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


class PromotionValue(Settings):
    """The decision on a candidate, and the champion after it."""

    candidate: str
    promoted: bool
    champion: str | None
