"""The audit log: who promoted, refused or rolled back which version, when and why. MLflow keeps no history of aliases.

The file lies next to MLflow's store, has one JSON object per line, and is only appended to. The order of the lines
counts, because a clock may jump.
"""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from uuid import uuid4

from pydantic import Field, ValidationError

from voltpipe.lake.locks import exclusive_lock
from voltpipe.schema import FrozenModel
from voltpipe.tracking.mlflow_store import TrackingStore

TRAIL_FILE = "champion_trail.jsonl"
_LOCK_FILE = "champion.lock"


class Action(StrEnum):
    """Action on a version."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    MOVED_OUTSIDE = "moved outside"
    """The alias no longer names the version that the audit log recorded."""


class AuditEntry(FrozenModel):
    """A line of the audit log."""

    entry_id: str = Field(default_factory=lambda: uuid4().hex[:12])
    at_utc: datetime = Field(default_factory=lambda: datetime.now(UTC))
    action: Action
    version: str = Field(description="Version that was decided on.")
    champion_before: str | None = Field(description="Champion before the action.")
    champion_after: str | None = Field(description="Champion after the action.")
    previous_after: str | None = Field(description="Version that a rollback would restore.")
    who: str
    why: str
    codes: tuple[str, ...] = Field((), description="Codes of the reasons for a decision; see `PromotionReason`.")

    @property
    def moves(self) -> bool:
        """True if the action changed the champion."""
        return self.champion_before != self.champion_after

    @property
    def brief(self) -> str:
        """Time, version, action and user, in one line."""
        moved = f"champion {self.champion_before or 'none'} -> {self.champion_after or 'none'}"
        effect = moved if self.moves else f"champion stays {self.champion_after or 'none'}"
        when = f"{self.at_utc:%Y-%m-%d %H:%M} UTC"
        return f"{when}  version {self.version} {self.action} ({effect}) by {self.who}"

    @property
    def line(self) -> str:
        """Time, version, action, user and reason, in one line."""
        return f"{self.brief}: {self.why}"


@dataclass(frozen=True)
class AuditLog:
    """The audit log of one store."""

    folder: Path

    @classmethod
    def of(cls, store: TrackingStore) -> "AuditLog":
        """Return the audit log in the store's folder; it lies there even if MLflow runs on a server."""
        return cls(store.folder)

    @property
    def path(self) -> Path:
        """Path of the log file."""
        return self.folder / TRAIL_FILE

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the promotion lock. The system releases it when the process ends, even if it is killed."""
        with exclusive_lock(self.folder / _LOCK_FILE):
            yield

    def entries(self) -> tuple[AuditEntry, ...]:
        """Read all actions, oldest first. Incomplete lines are skipped."""
        return tuple(entry for entry in map(_read, self._lines()) if entry is not None)

    def damaged_lines(self) -> tuple[int, ...]:
        """Return the numbers of the lines that cannot be read, counted from 1."""
        return tuple(number for number, line in enumerate(self._lines(), 1) if _read(line) is None)

    def append(self, entry: AuditEntry) -> None:
        """Add a line, and return once it is on the disk.

        Raises:
            OSError: the disk is full. Readers skip the incomplete line.
        """
        line = entry.model_dump_json().encode() + b"\n"
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            content = b"\n" + line if torn else line
            if os.write(file, content) != len(content):
                raise OSError(f"The disk has no room for another line in {self.path}. Free some space and try again.")
            os.fsync(file)
        finally:
            os.close(file)

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.exists() else []


def current_user() -> str:
    """Return the name of the current user and of this machine."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        name = f"user {os.getuid()}"
    return f"{name} at {socket.gethostname()}"


def _read(line: bytes) -> AuditEntry | None:
    try:
        return AuditEntry.model_validate_json(line)
    except ValidationError:
        return None
