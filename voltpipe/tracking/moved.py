"""MLflow keeps absolute places of artifacts; they follow a lake that was moved or copied."""

import sqlite3
from contextlib import closing
from pathlib import Path

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def follow_move(database: Path, experiment: str, artifacts: Path) -> None:
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
