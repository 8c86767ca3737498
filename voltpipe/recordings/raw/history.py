"""Versions of a recording: the contents that a raw file had, in order.

Raw files should not change, but they do. New content under a name is a new version. It is checked like a new
recording, and the conditioned form of the previous version is kept in `history/`. Removing a raw file removes nothing
that was made of it.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from voltpipe.lake.files import atomic_write, file_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.quality.quality_report import QualityReport
from voltpipe.recordings.raw.raw_folder import raw_digest
from voltpipe.recordings.raw.recording_records import (
    RecordingHistory,
    RecordingOverview,
    RecordingRecord,
    RecordingVersion,
    Source,
    Verdict,
    change_record,
    read_history,
    write_view,
)
from voltpipe.recordings.raw.sidecar import sidecar_path


def read_source(path: Path) -> Source:
    """Digest a raw file or folder, and its sidecar."""
    sidecar = sidecar_path(path)
    return Source(raw_digest=raw_digest(path), hints_digest=file_digest(sidecar) if sidecar.exists() else None)


def record_verdict(
    lake: Lake,
    key: RecordingKey,
    verdict: Verdict,
    *,
    raw_state: str,
    source: Source | None,
    reason: str = "",
    seen: RecordingOverview | None = None,
    report: QualityReport | None = None,
    digest: str | None = None,
    duration_s: float = 0.0,
) -> RecordingRecord:
    """Write a verdict into a recording's record, as a new version if the content changed.

    Args:
        lake: the data lake.
        key: the recording.
        verdict: whether it was conditioned.
        raw_state: fingerprint of its raw file before it was opened.
        source: digests of its content; None if it could not be read. Then no version is added.
        reason: why it is quarantined.
        seen: overview of the raw recording, if it could be opened.
        report: results of its quality checks, if its samples could be read.
        digest: digest of the conditioned recording.
        duration_s: duration of the conditioned recording, in s.
    """
    judged_utc = datetime.now(UTC)

    def judged(record: RecordingRecord | None) -> RecordingRecord:
        history = record.history if record else None
        if source is not None:
            earlier = _other_versions(history, source)
            present = RecordingVersion(
                version=earlier[-1].version + 1 if earlier else 1,
                source=source,
                verdict=verdict,
                reason=reason,
                digest=digest,
                duration_s=duration_s,
                judged_utc=judged_utc,
            )
            history = RecordingHistory(raw_state=raw_state, versions=(*earlier, present))
        changed = RecordingRecord(
            organoid=key.organoid,
            recording=key.recording,
            verdict=verdict,
            reason=reason,
            source_digest=source.raw_digest if source else None,
            seen=seen,
            report=report,
            history=history,
        )
        # The view comes first: if the process is killed in between, the record is outdated and the recording is redone.
        write_view(lake, changed)
        return changed

    record = change_record(lake, key, judged)
    assert record is not None
    return record


def record_unchanged(lake: Lake, key: RecordingKey, history: RecordingHistory, raw_state: str) -> None:
    """Store the new fingerprint of a raw file whose content is unchanged, so that it is not digested again."""

    def untouched(record: RecordingRecord | None) -> RecordingRecord | None:
        if record is None or record.history != history:  # conditioned meanwhile
            return record
        return record.model_copy(update={"history": history.model_copy(update={"raw_state": raw_state})})

    change_record(lake, key, untouched)


def archive_previous_version(lake: Lake, key: RecordingKey, source: Source) -> None:
    """Move the conditioned recording to `history/` if it was made from other content than `source`."""
    history, present = read_history(lake, key), lake.conditioned_path(key)
    if history is None or history.present.source == source or not present.exists():
        return
    kept = lake.former_path(key, history.present.version)
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(present, kept)
        except OSError:  # a file system without links
            with atomic_write(kept) as aside:
                shutil.copyfile(present, aside)


def _other_versions(history: RecordingHistory | None, source: Source) -> tuple[RecordingVersion, ...]:
    if history is None:
        return ()
    return history.versions[:-1] if history.present.source == source else history.versions
