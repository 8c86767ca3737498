"""MLflow's store of runs, models and artifacts: embedded in the lake, or on a server."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from voltpipe.errors import VoltpipeError
from voltpipe.lake.locks import exclusive_lock
from voltpipe.lake.paths import Lake

if TYPE_CHECKING:
    from mlflow import MlflowClient


EXPERIMENT = "voltpipe"
TRACKING_VARIABLE = "VOLTPIPE_TRACKING_URI"
"""Environment variable that names an MLflow server or database to use instead of the embedded one."""

_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # otherwise the pages are laid out for chat traces
    "mlflow.note.content": "Voltage forecasters. Each run is a training, from its first epoch to its evaluation.",
}

# Set before MLflow is imported: no usage reports over the network, and no notes on each migration in the terminal.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Somebody may have put a pickle among the artifacts.
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
# By default, a server that is down delays each epoch by four minutes. Retries of the whole step wait longer than that.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")


class TrackingError(VoltpipeError):
    """A request that MLflow's records or the settings do not allow."""


def mlflow_errors() -> tuple[type[Exception], ...]:
    """Return the errors that MLflow's client raises when its server is down or refuses, or its database is unusable.

    A database is unusable while it is locked or its disk is full.
    """
    from mlflow.exceptions import MlflowException

    return (MlflowException,)


@dataclass(frozen=True)
class TrackingStore:
    """MLflow's store. It sets nothing global, so several stores can be used in one process.

    Args:
        folder: the lake's folder for MLflow, with the database and the artifacts.
        tracking_uri: an MLflow server or database to use instead, in MLflow's notation.

    Raises:
        TrackingError: the URI contains a password, which messages, run pages and Dagster's resource page would show.
    """

    folder: Path
    tracking_uri: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.tracking_uri or "")
        if parts.password or "password" in parse_qs(parts.query):
            raise TrackingError(
                f"The tracking URI for {parts.hostname} contains a password, which pages and logs would show. "
                "Remove it from the URI. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD for a server, or "
                "PGPASSWORD or ~/.pgpass for Postgres.",
                code="password-in-uri",
            )

    @classmethod
    def of(cls, lake: Lake) -> "TrackingStore":
        """Return the store of a lake, or the one that `VOLTPIPE_TRACKING_URI` names."""
        return cls(lake.mlflow, os.environ.get(TRACKING_VARIABLE) or None)

    @property
    def uri(self) -> str:
        """Tracking URI, as MLflow's own commands accept it."""
        return self.tracking_uri or f"sqlite:///{self.folder.resolve() / 'mlflow.db'}"

    @property
    def artifacts_uri(self) -> str:
        """URI of the folder with the embedded store's artifacts."""
        return (self.folder.resolve() / "artifacts").as_uri()

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's client for this store. The store is created or migrated first."""
        from mlflow import MlflowClient

        self.prepare()
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """ID of the experiment with voltpipe's runs.

        Raises:
            TrackingError: the experiment was deleted.
        """
        from mlflow.exceptions import MlflowException

        place = None if self.is_server else self.artifacts_uri
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            try:
                return str(self.client.create_experiment(EXPERIMENT, artifact_location=place, tags=_EXPERIMENT_TAGS))
            except MlflowException:  # another process was faster
                experiment = self.client.get_experiment_by_name(EXPERIMENT)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            raise TrackingError(
                f"The MLflow experiment {EXPERIMENT!r} was deleted. Restore it with "
                f"'MLFLOW_TRACKING_URI={self.uri} mlflow experiments restore -x {experiment.experiment_id}'.",
                code="experiment-deleted",
            )
        return str(experiment.experiment_id)

    def prepare(self) -> None:
        """Create the embedded store, or migrate its schema and artifact paths; several processes may do so at once."""
        if self.tracking_uri is not None:
            return
        from mlflow.db import upgrade
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        self.folder.mkdir(parents=True, exist_ok=True)
        # Two simultaneous migrations of one SQLite file break each other.
        with exclusive_lock(self.folder / "prepare.lock"):
            upgrade.main([self.uri], standalone_mode=False)
            # The first use creates MLflow's default experiment, by default in the working directory.
            SqlAlchemyStore(self.uri, self.artifacts_uri)  # type: ignore[no-untyped-call]
            relocate_artifacts(self.folder / "mlflow.db", EXPERIMENT, self.folder.resolve() / "artifacts")

    def tagged_runs(self, tags: dict[str, str], *, status: str | None = None) -> list[Any]:
        """Return the MLflow runs that have all these tags, newest first."""
        conditions = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
        if status is not None:
            conditions.append(f"attributes.status = '{status}'")
        return list(self.client.search_runs([self.experiment_id], " and ".join(conditions)))

    @property
    def is_server(self) -> bool:
        """True if the store is an MLflow server, which serves its own pages."""
        return self.uri.startswith(("http://", "https://"))


_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate_artifacts(database: Path, experiment: str, artifacts: Path) -> None:
    """Update the artifact paths of an embedded store after the lake was moved or copied.

    A copied lake would otherwise read and write the artifacts of the lake that it was copied from.

    Args:
        database: MLflow's SQLite file, with the current schema.
        experiment: name of the experiment whose artifacts lie directly in the artifacts folder.
        artifacts: the folder of all artifacts.
    """
    here = artifacts.as_uri()
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        found = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)).fetchone()
        former = str(found[0]) if found else here
        # Artifacts that somebody keeps outside the lake stay there when the lake moves.
        is_of_lake = former.startswith("file:") and former.split("/")[-2:] == here.split("/")[-2:]
        if former == here or not is_of_lake or not artifacts.is_dir():
            return
        for table, column in _PLACES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} GLOB ? || '/*'",
                (here, len(former) + 1, former, _literal(former)),
            )


def _literal(text: str) -> str:
    """Escape the characters of a text that GLOB would read as a pattern."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
