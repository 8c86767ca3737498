"""Where MLflow keeps its runs, models and artifacts: in the lake, or on a server."""

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
"""Names an MLflow server or database to use instead of the lake's own."""

_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # else its pages are laid out for chat traces
    "mlflow.note.content": "Forecasters of voltage: a run is a training, from its first epoch to its evaluation.",
}

# Before MLflow is first imported: no report of its use over the network, no notes on every migration in the terminal.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Whatever somebody may have put among the artifacts.
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
# A server that is down would hold up each epoch for four minutes; a retry waits longer for it than that.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")


class TrackingError(VoltpipeError):
    """MLflow's records or settings that do not allow what was asked for."""


def mlflow_errors() -> tuple[type[Exception], ...]:
    """Return the errors of MLflow's client if its server is down or refuses, or its database is locked or full."""
    from mlflow.exceptions import MlflowException

    return (MlflowException,)


@dataclass(frozen=True)
class TrackingStore:
    """MLflow's store. Nothing global is set: several stores can be used side by side.

    Args:
        folder: the lake's folder for MLflow; the database and the artifacts lie there.
        tracking_uri: an MLflow server or database to use instead, as MLflow writes it.

    Raises:
        TrackingError: the URI holds a password, which messages, run pages and Dagster's resource page would show.
    """

    folder: Path
    tracking_uri: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.tracking_uri or "")
        if parts.password or "password" in parse_qs(parts.query):
            raise TrackingError(
                f"The tracking URI for {parts.hostname} holds a password, which would be shown on pages and in logs. "
                "Leave it out, and put it into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (a server) or "
                "PGPASSWORD or ~/.pgpass (Postgres).",
                code="password-in-uri",
            )

    @classmethod
    def of(cls, lake: Lake) -> "TrackingStore":
        """Return the store of a lake, or the one that `VOLTPIPE_TRACKING_URI` names instead."""
        return cls(lake.mlflow, os.environ.get(TRACKING_VARIABLE) or None)

    @property
    def uri(self) -> str:
        """The tracking URI, as MLflow's own commands take it."""
        return self.tracking_uri or f"sqlite:///{self.folder.resolve() / 'mlflow.db'}"

    @property
    def artifacts_uri(self) -> str:
        """Where the embedded store's artifacts lie."""
        return (self.folder.resolve() / "artifacts").as_uri()

    @cached_property
    def client(self) -> "MlflowClient":
        """MLflow's client for this store, which is made and migrated first."""
        from mlflow import MlflowClient

        self.prepare()
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """The experiment that holds voltpipe's runs.

        Raises:
            TrackingError: somebody deleted it.
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
        """Create the embedded store, or migrate its schema and artifact paths; safe in several processes at once."""
        if self.tracking_uri is not None:
            return
        from mlflow.db import upgrade
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        self.folder.mkdir(parents=True, exist_ok=True)
        # Two migrations of one SQLite file at once break each other.
        with exclusive_lock(self.folder / "prepare.lock"):
            upgrade.main([self.uri], standalone_mode=False)
            # The first use makes MLflow's default experiment, in the working directory unless told otherwise.
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
        """Whether the store is an MLflow server, which serves its own pages."""
        return self.uri.startswith(("http://", "https://"))


_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate_artifacts(database: Path, experiment: str, artifacts: Path) -> None:
    """Make an embedded store name its artifacts where they lie now.

    A copy that went on naming the artifacts of the lake it was copied from would read them, and write to them.

    Args:
        database: MLflow's SQLite file, up to date.
        experiment: whose artifacts lie right in the folder of all artifacts.
        artifacts: that folder.
    """
    here = artifacts.as_uri()
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        found = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (experiment,)).fetchone()
        former = str(found[0]) if found else here
        # Somebody may have chosen another place for the artifacts, which stays where it is when the lake moves.
        is_of_lake = former.startswith("file:") and former.split("/")[-2:] == here.split("/")[-2:]
        if former == here or not is_of_lake or not artifacts.is_dir():
            return
        for table, column in _PLACES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} GLOB ? || '/*'",
                (here, len(former) + 1, former, _literal(former)),
            )


def _literal(text: str) -> str:
    """A GLOB pattern for a text that may hold what GLOB takes for a pattern."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
