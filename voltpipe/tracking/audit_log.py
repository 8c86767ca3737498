"""The audit trail: who made which version champion, or refused it, when and why. MLflow keeps no history of aliases.

One JSON object a line, in a file beside MLflow's store that is only ever appended to. Order is that of the lines: a
clock may jump.
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
    """What was done."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    MOVED_OUTSIDE = "moved outside"
    """The alias was found elsewhere than the trail had left it."""


class AuditEntry(FrozenModel):
    """One action."""

    entry_id: str = Field(default_factory=lambda: uuid4().hex[:12])
    at_utc: datetime = Field(default_factory=lambda: datetime.now(UTC))
    action: Action
    version: str = Field(description="that was decided on")
    champion_before: str | None = Field(description="the version in use until then")
    champion_after: str | None = Field(description="and from then on")
    previous_after: str | None = Field(description="the version that a roll-back would return to")
    who: str
    why: str
    codes: tuple[str, ...] = Field((), description="of the reasons of a decision; see `PromotionReason`")

    @property
    def moves(self) -> bool:
        """Whether the champion is another one afterwards."""
        return self.champion_before != self.champion_after

    @property
    def brief(self) -> str:
        """What was done, when and by whom."""
        moved = f"champion {self.champion_before or 'none'} -> {self.champion_after or 'none'}"
        place = moved if self.moves else f"champion stays {self.champion_after or 'none'}"
        when = f"{self.at_utc:%Y-%m-%d %H:%M} UTC"
        return f"{when}  version {self.version} {self.action} ({place}) by {self.who}"

    @property
    def line(self) -> str:
        """The same, and why."""
        return f"{self.brief}: {self.why}"


@dataclass(frozen=True)
class AuditLog:
    """The trail of one store."""

    folder: Path

    @classmethod
    def of(cls, store: TrackingStore) -> "AuditLog":
        """The trail that lies in a store's folder, also where MLflow itself is a server elsewhere."""
        return cls(store.folder)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / TRAIL_FILE

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody else decide meanwhile. The system gives the lock back when its holder ends, killed or not."""
        with exclusive_lock(self.folder / _LOCK_FILE):
            yield

    def entries(self) -> tuple[AuditEntry, ...]:
        """All actions, the oldest first. A line that was not written whole is left out."""
        return tuple(entry for entry in map(_read, self._lines()) if entry is not None)

    def damaged_lines(self) -> tuple[int, ...]:
        """Numbers of the lines that cannot be read."""
        return tuple(number for number, line in enumerate(self._lines(), 1) if _read(line) is None)

    def append(self, entry: AuditEntry) -> None:
        """Add a line, and return when it is on the disk.

        Raises:
            OSError: there is no room for it. What was written of it is left out by whoever reads.
        """
        line = entry.model_dump_json().encode() + b"\n"
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            content = b"\n" + line if torn else line
            if os.write(file, content) != len(content):
                raise OSError(f"no room for a line in {self.path}; make room, and ask again")
            os.fsync(file)
        finally:
            os.close(file)

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.exists() else []


def current_user() -> str:
    """Who sits at this machine."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        name = f"user {os.getuid()}"
    return f"{name} at {socket.gethostname()}"


def _read(line: bytes) -> AuditEntry | None:
    try:
        return AuditEntry.model_validate_json(line)
    except ValidationError:
        return None
