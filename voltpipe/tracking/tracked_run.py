"""What is written to an MLflow run: parameters, figures by epoch, inputs, environment, the evaluation."""

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
"""What each of a run's inputs was used for."""

_VERSIONED = ("voltpipe", "torch", "numpy", "mlflow")
DIGEST_LENGTH = 32
"""Hexadecimal digits of a digest that MLflow has room for (it allows 36 characters)."""


@dataclass(frozen=True)
class RunInput:
    """A recording, or the window set made from them, as a run's input: what MLflow calls a dataset."""

    name: str
    digest: str
    used_for: str
    """The split that a recording is in; or what else was done with it."""
    path: Path

    @property
    def short_digest(self) -> str:
        """So much of the digest as MLflow has room for."""
        return self.digest[:DIGEST_LENGTH]


@dataclass(frozen=True)
class TrackedRun:
    """An MLflow run, under way or finished."""

    store: TrackingStore
    run_id: str

    @cached_property
    def start_time_ms(self) -> int:
        """When it first began, in milliseconds since 1970."""
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
                "Finish it with the settings it began with, or start a new training.",
                code="run-settings-changed",
            )
        self.store.client.log_batch(
            self.run_id, params=[Param(key, value) for key, value in parameters.items() if key not in known]
        )

    def log_epoch(self, record: EpochRecord) -> None:
        """Log one epoch's figures. MLflow's time axis shows training time, without what a crash cost.

        Logging the same epoch again changes nothing, so a whole history can be logged to fill gaps.
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
        """Log figures at a step, in one call.

        With `model_id` they are the logged model's as well, whose page names the `dataset` on which they were found.
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
        """Log what the run is made with: device, code revision, versions, platform."""
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
        """Log the run's dataset inputs, each with its digest and what it was used for. Again changes nothing."""
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
        """Log an evaluation's scores and its file, which the champion's live skill is compared with."""
        self.log_metrics(metrics)
        self.store.client.log_artifact(self.run_id, str(evaluation_file), REPORT_FOLDER)

    def log_report(self, metrics: Mapping[str, float], report_folder: Path) -> None:
        """Log what an evaluation found: its figures, the report's files, and their tables as MLflow shows tables."""
        import pandas as pd

        self.log_metrics(metrics)
        self.store.client.log_artifacts(self.run_id, str(report_folder), REPORT_FOLDER)
        self.log_tables({path.stem: pd.read_parquet(path) for path in sorted(report_folder.glob("*.parquet"))})

    def log_tables(self, tables: Mapping[str, "pd.DataFrame"]) -> None:
        """Log tables by name, in place of former ones. They are MLflow's own, which `mlflow.load_table` reads.

        MLflow's `log_table` would append to what an evaluation that was cut off has logged already.
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
