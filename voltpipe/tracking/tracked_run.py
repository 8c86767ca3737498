"""An MLflow run and what is logged to it: parameters, metrics of each epoch, inputs, environment and evaluation."""

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voltpipe.progress import EpochRecord
from voltpipe.schema import Settings
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run


REPORT_FOLDER, TABLES_FOLDER = "report", "tables"
SCORES_FILE = "scores.csv"
SPLIT_TAG = "mlflow.data.context"
"""Tag of a run's input: what the input was used for."""

_VERSIONED = ("voltpipe", "torch", "numpy", "mlflow")
DIGEST_LENGTH = 32
"""Number of a digest's hexadecimal digits that are logged; MLflow allows 36 characters."""


@dataclass(frozen=True)
class RunInput:
    """Input of a run, which MLflow calls a dataset: a recording, or the window set made from recordings."""

    name: str
    digest: str
    used_for: str
    """Split of a recording, or another use such as "evaluation"."""
    path: Path

    @property
    def short_digest(self) -> str:
        """Beginning of the digest, of the length that MLflow allows."""
        return self.digest[:DIGEST_LENGTH]


@dataclass(frozen=True)
class TrackedRun:
    """An MLflow run, running or finished."""

    store: TrackingStore
    run_id: str

    @cached_property
    def start_time_ms(self) -> int:
        """Time at which the run first started, in milliseconds since 1970."""
        return int(self._run().info.start_time)

    def log_parameters(self, groups: Mapping[str, Settings | Mapping[str, Any]]) -> None:
        """Log settings as parameters named `<group>.<field>`. Logging the same again changes nothing.

        Raises:
            TrackingError: a parameter has another value than the run began with.
        """
        from mlflow.entities import Param

        parameters = _flat({name: _plain(group) for name, group in groups.items()})
        known = self._run().data.params
        changed = [f"{k} was {known[k]}, now {v}" for k, v in parameters.items() if known.get(k, v) != v]
        if changed:
            raise TrackingError(
                f"Run {self.run_id} began with other settings ({'; '.join(changed)}). "
                "Finish it with its original settings, or start a new training.",
                code="run-settings-changed",
            )
        self.store.client.log_batch(
            self.run_id, params=[Param(key, value) for key, value in parameters.items() if key not in known]
        )

    def log_epoch(self, record: EpochRecord) -> None:
        """Log the metrics of an epoch. MLflow's time axis shows training time, without the time lost to crashes.

        Logging the same epoch again changes nothing, so a complete history can be logged to fill gaps.
        """
        metrics = {
            "train/loss": record.train_loss,
            "validation/loss": record.validation_loss,
            "learning_rate": record.learning_rate,
            "windows_per_s": record.windows_per_s,
        } | {f"validation/r2/h{horizon}": r2 for horizon, r2 in record.validation_r2.items()}
        self.log_metrics(metrics, step=record.epoch, elapsed_s=record.elapsed_s)

    def log_metrics(
        self,
        metrics: Mapping[str, float],
        *,
        step: int = 0,
        elapsed_s: float = 0.0,
        model_id: str | None = None,
        dataset: RunInput | None = None,
    ) -> None:
        """Log metrics at a step, in one call.

        Args:
            metrics: values by MLflow metric name.
            step: the step, such as an epoch.
            elapsed_s: training time, in s, for MLflow's time axis.
            model_id: logged model that the metrics belong to as well.
            dataset: data on which they were found, named on the model's page.
        """
        from mlflow.entities import Metric

        timestamp_ms = self.start_time_ms + round(1000 * elapsed_s)
        self.store.client.log_batch(
            self.run_id,
            metrics=[
                Metric(
                    name,
                    value,
                    timestamp_ms,
                    step,
                    model_id=model_id,
                    dataset_name=dataset.name if dataset else None,
                    dataset_digest=dataset.short_digest if dataset else None,
                    run_id=self.run_id,
                )
                for name, value in metrics.items()
            ],
        )

    def log_environment(self, *, device: str, revision: str) -> None:
        """Log the environment of the run: device, code revision, versions and platform."""
        versions = {f"version.{name}": importlib.metadata.version(name) for name in _VERSIONED}
        self.set_tags(
            {
                "device": device,
                "revision": revision,
                "platform": platform.platform(),
                "version.python": platform.python_version(),
                **versions,
            }
        )

    def log_inputs(self, inputs: Iterable[RunInput]) -> None:
        """Log the run's inputs with their digests and uses. Logging them again changes nothing."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        self.store.client.log_inputs(
            self.run_id,
            [
                DatasetInput(
                    Dataset(
                        name=each.name,
                        digest=each.short_digest,
                        source_type="local",
                        source=json.dumps({"uri": each.path.as_uri()}),
                    ),
                    [InputTag(SPLIT_TAG, each.used_for)],
                )
                for each in inputs
            ],
        )

    def log_scores(self, metrics: Mapping[str, float], evaluation_file: Path) -> None:
        """Log an evaluation's scores and its file, with which the champion's live skill is compared later."""
        self.log_metrics(metrics)
        self.store.client.log_artifact(self.run_id, str(evaluation_file), REPORT_FOLDER)

    def log_report(self, metrics: Mapping[str, float], report_folder: Path) -> None:
        """Log an evaluation: its metrics, the files of its report, and their tables as MLflow tables."""
        import pandas as pd

        self.log_metrics(metrics)
        self.store.client.log_artifacts(self.run_id, str(report_folder), REPORT_FOLDER)
        self.log_tables({path.stem: pd.read_parquet(path) for path in sorted(report_folder.glob("*.parquet"))})

    def log_tables(self, tables: Mapping[str, "pd.DataFrame"]) -> None:
        """Log tables by name, replacing earlier ones, in the form that `mlflow.load_table` reads.

        MLflow's own `log_table` would append to the tables of an interrupted evaluation.
        """
        from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

        for name, table in tables.items():
            content = table.to_json(orient="split", index=False, date_format="iso")
            self.store.client.log_text(self.run_id, content, f"{TABLES_FOLDER}/{name}.json")
        logged = [{"path": f"{TABLES_FOLDER}/{name}.json", "type": "table"} for name in tables]
        if logged:
            self.set_tags({MLFLOW_LOGGED_ARTIFACTS: json.dumps(logged)})

    def log_file(self, path: Path) -> None:
        """Log a file as an artifact."""
        self.store.client.log_artifact(self.run_id, str(path))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, in one call."""
        from mlflow.entities import RunTag

        self.store.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def set_note(self, markdown: str) -> None:
        """Set the text at the top of the run's page."""
        self.set_tags({"mlflow.note.content": markdown})

    def _run(self) -> "Run":
        return self.store.client.get_run(self.run_id)


def _plain(group: Settings | Mapping[str, Any]) -> Mapping[str, Any]:
    return group.model_dump(mode="json") if isinstance(group, Settings) else group


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return flat
