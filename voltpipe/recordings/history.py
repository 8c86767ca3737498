"""What became of each raw recording, version after version: one JSON file each.

Raw files are not to be changed, but it happens. What then lies under the name is another version: it is judged like a
new recording, and what was made of the former one is kept beside its history. Nor does anything that was made go when a
raw file goes.
"""

import os
import shutil
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from voltpipe.files import file_digest, write_json, written_whole
from voltpipe.lake import Lake, RecordingKey
from voltpipe.recordings.raw import raw_digest
from voltpipe.recordings.sidecar import sidecar_path
from voltpipe.settings import Settings


class Verdict(StrEnum):
    """What became of a raw recording."""

    CONDITIONED = "conditioned"
    QUARANTINED = "quarantined"


class Source(Settings):
    """What a raw recording is made of, by content."""

    raw_digest: str = Field(description="SHA-256 of the raw file or folder")
    hints_digest: str | None = Field(description="SHA-256 of its sidecar, if it has one")


class RecordingVersion(Settings):
    """One content under a recording's name, and the verdict on it."""

    version: int = Field(description="1 for what first lay under the name", ge=1)
    source: Source
    verdict: Verdict
    reason: str = Field(description="why it is in quarantine; empty if it is not")
    digest: str | None = Field(description="of the conditioned recording; None if there is none")
    duration_s: float = Field(description="of the conditioned recording; 0 if there is none", ge=0)
    judged_utc: datetime


class RecordingHistory(Settings):
    """Every version of a recording, the present one last."""

    raw_state: str = Field(description="the raw file's state when the present version was judged; see `raw_state`")
    versions: tuple[RecordingVersion, ...] = Field(min_length=1)

    @property
    def present(self) -> RecordingVersion:
        """What was judged last."""
        return self.versions[-1]

    @property
    def former(self) -> RecordingVersion | None:
        """What lay under the name before."""
        return self.versions[-2] if len(self.versions) > 1 else None


def read_history(lake: Lake, key: RecordingKey) -> RecordingHistory | None:
    """The history of a recording; None if it was never judged, or what was noted is damaged: it is judged anew then."""
    path = lake.history_path(key)
    try:
        stat = path.stat()
        return _read(path, stat.st_mtime_ns, stat.st_ino)
    except (FileNotFoundError, ValueError):
        return None


def read_source(path: Path) -> Source:
    """Digest a raw file or folder, and its sidecar."""
    sidecar = sidecar_path(path)
    return Source(raw_digest=raw_digest(path), hints_digest=file_digest(sidecar) if sidecar.exists() else None)


def note_verdict(
    lake: Lake,
    key: RecordingKey,
    raw_state: str,
    source: Source,
    verdict: Verdict,
    *,
    reason: str = "",
    digest: str | None = None,
    duration_s: float = 0.0,
) -> RecordingHistory:
    """Note what became of a recording: as its next version if its content is another than before, else anew."""
    earlier = _other_versions(read_history(lake, key), source)
    judged = RecordingVersion(
        version=earlier[-1].version + 1 if earlier else 1,
        source=source,
        verdict=verdict,
        reason=reason,
        digest=digest,
        duration_s=duration_s,
        judged_utc=datetime.now(UTC),
    )
    return _write(lake, key, RecordingHistory(raw_state=raw_state, versions=(*earlier, judged)))


def note_untouched(lake: Lake, key: RecordingKey, history: RecordingHistory, raw_state: str) -> None:
    """Note that a raw file's state changed, but not its content, so that it need not be digested again."""
    _write(lake, key, history.model_copy(update={"raw_state": raw_state}))


def keep_former(lake: Lake, key: RecordingKey, source: Source) -> None:
    """Keep the conditioned recording aside if it was made of other content than `source`."""
    history, present = read_history(lake, key), lake.conditioned_path(key)
    if history is None or history.present.source == source or not present.exists():
        return
    kept = lake.former_path(key, history.present.version)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(present, kept)
        except OSError:  # a file system without links
            with written_whole(kept) as aside:
                shutil.copyfile(present, aside)


def _other_versions(history: RecordingHistory | None, source: Source) -> tuple[RecordingVersion, ...]:
    if history is None:
        return ()
    return history.versions[:-1] if history.present.source == source else history.versions


def _write(lake: Lake, key: RecordingKey, history: RecordingHistory) -> RecordingHistory:
    write_json(lake.history_path(key), history.model_dump(mode="json"))
    return history


@lru_cache(maxsize=50_000)
def _read(path: Path, modified_ns: int, inode: int) -> RecordingHistory:
    return RecordingHistory.model_validate_json(path.read_text(encoding="utf-8"))
