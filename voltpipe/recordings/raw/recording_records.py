"""Records of recordings: verdict, quality checks and versions, in one JSON file per recording.

Records are read and written only here, and no sample is read. The files in `quarantine/` are a view for people. Only
their existence counts: a recording whose file was removed is not listed as quarantined until it is checked again.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from voltpipe.lake.files import write_json
from voltpipe.lake.keys import LakeError, RecordingKey
from voltpipe.lake.locks import exclusive_lock
from voltpipe.lake.paths import Lake
from voltpipe.recordings.quality.quality_report import CheckOutcome, QualityReport
from voltpipe.recordings.recording import RECORDED_FACT, Recording
from voltpipe.recordings.store.conditioned_recording import conditioned_paths
from voltpipe.schema import FrozenModel

M = TypeVar("M", bound=FrozenModel)


class RecordingOverview(FrozenModel):
    """Summary of a raw recording before its samples are checked."""

    format: str
    rate_hz: float
    n_channels: int
    duration_s: float
    recorded_at: datetime
    """Start of the recording as its file states it, else the modification time of the file; in UTC."""
    is_stated: bool
    """Whether the file states the start."""


def recording_overview(recording: Recording, path: Path) -> RecordingOverview:
    """Return the overview of an opened raw recording. `path` is its file or folder."""
    stated = _as_utc(str(recording.facts.get(RECORDED_FACT, "")))
    return RecordingOverview(
        format=str(recording.facts["format"]),
        rate_hz=recording.rate_hz,
        n_channels=len(recording.channel_names),
        duration_s=recording.n_samples / recording.rate_hz,
        recorded_at=stated or datetime.fromtimestamp(path.stat().st_mtime, UTC),
        is_stated=stated is not None,
    )


def _as_utc(stated: str) -> datetime | None:
    """Convert a date to UTC. Rigs rarely state a time zone; without one, the date is taken as UTC."""
    if not stated:
        return None
    date = datetime.fromisoformat(stated)
    return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)


FORMAT_VERSION = 1
"""Format version of a record. Version 0.1.0 had three files without a format version instead."""
_VIEW = {"organoid", "recording", "reason", "report", "source_digest", "seen"}
"""Fields that are shown in `quarantine/`."""


class RecordingStatus(StrEnum):
    """Status of a recording on pages."""

    OK = "ok"
    WARN = "warn"
    """It is used, but failed a check with severity WARN."""
    QUARANTINED = "quarantined"


class Verdict(StrEnum):
    """Outcome of the quality checks."""

    CONDITIONED = "conditioned"
    QUARANTINED = "quarantined"


class Source(FrozenModel):
    """Digests of the files that a raw recording is made of."""

    raw_digest: str = Field(description="SHA-256 of the raw file or folder.")
    hints_digest: str | None = Field(description="SHA-256 of its sidecar, if it has one.")


class RecordingVersion(FrozenModel):
    """Content of a raw file at one time, and its verdict."""

    version: int = Field(description="Number of the version, counted from 1.", ge=1)
    source: Source
    verdict: Verdict
    reason: str = Field(description="Reason for quarantine; empty if it is not quarantined.")
    digest: str | None = Field(description="Digest of the conditioned recording; None if there is none.")
    duration_s: float = Field(description="Duration of the conditioned recording in s; 0 if there is none.", ge=0)
    judged_utc: datetime


class RecordingHistory(FrozenModel):
    """All versions of a recording, the latest last."""

    raw_state: str = Field(
        description="Fingerprint of the raw file when the latest version was checked; see `raw_fingerprint`."
    )
    versions: tuple[RecordingVersion, ...] = Field(min_length=1)

    @property
    def present(self) -> RecordingVersion:
        """Latest version."""
        return self.versions[-1]

    @property
    def former(self) -> RecordingVersion | None:
        """Version before the latest; None if there is none."""
        return self.versions[-2] if len(self.versions) > 1 else None


class RecordingRecord(FrozenModel):
    """Everything known about one recording."""

    format_version: int = Field(FORMAT_VERSION, ge=1, le=FORMAT_VERSION)
    organoid: str
    recording: str
    verdict: Verdict
    reason: str = Field("", description="Reason for quarantine; empty if it is not quarantined.")
    source_digest: str | None = Field(None, description="SHA-256 of the latest raw file, if it could be read.")
    seen: RecordingOverview | None = Field(None, description="Overview of the raw recording, if it could be opened.")
    report: QualityReport | None = Field(
        None, description="Results of the quality checks, if the samples could be read."
    )
    history: RecordingHistory | None = Field(None, description="All versions; None if no content was ever read.")

    @property
    def key(self) -> RecordingKey:
        """Key of the recording."""
        return RecordingKey(self.organoid, self.recording)

    @property
    def standing(self) -> RecordingStatus:
        """Verdict, with warnings as a status of their own."""
        if self.verdict is Verdict.QUARANTINED:
            return RecordingStatus.QUARANTINED
        return RecordingStatus.WARN if self.doubts else RecordingStatus.OK

    @property
    def doubts(self) -> tuple[CheckOutcome, ...]:
        """Checks that the recording failed."""
        return tuple(check for check in self.report.checks if not check.passed) if self.report else ()

    def figure(self, check: str, name: str) -> float | None:
        """Return a number that a check measured; None if it was not measured."""
        for outcome in self.report.checks if self.report else ():
            if outcome.name == check and name in outcome.figures:
                return float(outcome.figures[name])
        return None


def catalogue(lake: Lake) -> tuple[RecordingRecord, ...]:
    """List the records of conditioned and quarantined recordings, in order of their keys.

    A conditioned recording whose record is damaged or missing gets an empty record.
    """
    records, conditioned = read_records(lake), conditioned_paths(lake)
    listed = {key for key, record in records.items() if _is_quarantined(lake, record)} | conditioned.keys()
    return tuple(records.get(key) or _without_findings(key) for key in sorted(listed))


def read_quarantine(lake: Lake) -> dict[RecordingKey, RecordingRecord]:
    """Read the records of all quarantined recordings, in order of their keys."""
    return {key: record for key, record in read_records(lake).items() if _is_quarantined(lake, record)}


def read_records(lake: Lake) -> dict[RecordingKey, RecordingRecord]:
    """Read all records in order of their keys, and migrate those of version 0.1.0.

    Raises:
        LakeError: a record was written by a later version of voltpipe.
    """
    for key in _named(lake.conditioned):
        _migrate(lake, key)
    records = {key: read_record(lake, key) for key in sorted(_named(lake.history) | _named(lake.quarantine))}
    return {key: record for key, record in records.items() if record is not None}


def read_record(lake: Lake, key: RecordingKey) -> RecordingRecord | None:
    """Read the record of a recording; None if it is missing or damaged. Then the recording is checked again.

    Raises:
        LakeError: the record was written by a later version of voltpipe.
    """
    return _stored(lake, key) or _migrate(lake, key)


def read_history(lake: Lake, key: RecordingKey) -> RecordingHistory | None:
    """Read only the versions of a recording, from a cache; None if there is no record or no version."""
    path = lake.history_path(key)
    try:
        stat = path.stat()
        return _stored_history(path, stat.st_mtime_ns, stat.st_ino)
    except (FileNotFoundError, ValueError):
        record = read_record(lake, key)
        return record.history if record else None


def change_record(
    lake: Lake, key: RecordingKey, change: Callable[[RecordingRecord | None], RecordingRecord | None]
) -> RecordingRecord | None:
    """Replace a record by `change(record)` under a lock. Nothing is written if the record stays the same."""
    with exclusive_lock(lake.history / ".lock"):
        stored = _stored(lake, key)
        record = change(stored or _record_of_0_1_0(lake, key))
        if record is not None and record is not stored:
            write_json(lake.history_path(key), record.model_dump(mode="json"))
        if _findings_of_0_1_0(lake, key):
            _findings_path_of_0_1_0(lake, key).unlink()
    return record


def write_view(lake: Lake, record: RecordingRecord) -> None:
    """Write the view of a quarantined recording, or remove it."""
    view = lake.quarantine_path(record.key)
    if record.verdict is Verdict.QUARANTINED:
        write_json(view, record.model_dump(mode="json", include=_VIEW))
    else:
        view.unlink(missing_ok=True)


def _is_quarantined(lake: Lake, record: RecordingRecord) -> bool:
    return record.verdict is Verdict.QUARANTINED and lake.quarantine_path(record.key).exists()


def _without_findings(key: RecordingKey) -> RecordingRecord:
    return RecordingRecord(organoid=key.organoid, recording=key.recording, verdict=Verdict.CONDITIONED)


def _migrate(lake: Lake, key: RecordingKey) -> RecordingRecord | None:
    """Write the record of a recording from the files of version 0.1.0; None if there is nothing readable."""
    kept = (lake.history_path(key), lake.quarantine_path(key), _findings_path_of_0_1_0(lake, key))
    if not any(path.exists() for path in kept):
        return None
    try:
        return change_record(lake, key, lambda record: record)
    except OSError:  # a read-only lake
        return _stored(lake, key) or _record_of_0_1_0(lake, key)


def _record_of_0_1_0(lake: Lake, key: RecordingKey) -> RecordingRecord | None:
    """Assemble a record from the files of version 0.1.0, which hold fields of the record."""
    history = _validated(RecordingHistory, _content(lake.history_path(key)))
    known: dict[str, Any] = {"organoid": key.organoid, "recording": key.recording, "history": history}
    if view := _content(lake.quarantine_path(key)):
        found = _validated(RecordingRecord, {**view, **known, "verdict": Verdict.QUARANTINED})
        if found is not None:
            return found
    findings = _findings_of_0_1_0(lake, key)
    if history is None:
        return _validated(RecordingRecord, {**findings, **known, "verdict": Verdict.CONDITIONED}) if findings else None
    present = history.present
    known |= {"verdict": present.verdict, "reason": present.reason, "source_digest": present.source.raw_digest}
    return _validated(RecordingRecord, {**findings, **known}) or RecordingRecord(**known)


def _findings_of_0_1_0(lake: Lake, key: RecordingKey) -> dict[str, Any]:
    content = _content(_findings_path_of_0_1_0(lake, key)) or {}
    return content if content.keys() == {"seen", "report"} else {}


def _stored(lake: Lake, key: RecordingKey) -> RecordingRecord | None:
    content = _content(lake.history_path(key)) or {}
    _check_version(content.get("format_version"), lake.history_path(key))
    return _validated(RecordingRecord, content) if "format_version" in content else None


def _validated(model: type[M], content: dict[str, Any] | None) -> M | None:
    """Validate content; None if it is missing or damaged."""
    with suppress(ValidationError):
        return model.model_validate(content) if content is not None else None
    return None


@lru_cache(maxsize=50_000)
def _stored_history(path: Path, modified_ns: int, inode: int) -> RecordingHistory | None:
    """Read only the versions, which are small enough to be cached for all recordings of a lake."""
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"{path} holds no record of format version {FORMAT_VERSION}")
    history = content.get("history")
    return None if history is None else RecordingHistory.model_validate(history)


def _check_version(found: object, path: Path) -> None:
    if isinstance(found, int) and found > FORMAT_VERSION:
        raise LakeError(
            f"{path} has format version {found}. Expected at most {FORMAT_VERSION}. Upgrade voltpipe.",
            code="record-version-unknown",
        )


def _content(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if it is missing or damaged."""
    with suppress(FileNotFoundError, ValueError):
        content = json.loads(path.read_bytes())
        return content if isinstance(content, dict) else None
    return None


def _named(folder: Path) -> set[RecordingKey]:
    """List the recordings that have a JSON file in a folder of the lake."""
    named = set()
    for path in folder.glob("[!.]*/[!.]*.json"):
        with suppress(LakeError):  # a foreign file
            named.add(RecordingKey(path.parent.name, path.stem))
    return named


def _findings_path_of_0_1_0(lake: Lake, key: RecordingKey) -> Path:
    return lake.conditioned_path(key).with_suffix(".json")
