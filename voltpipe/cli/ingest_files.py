"""Work of `voltpipe ingest`: copy raw files into the lake and materialize their recordings."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from voltpipe.errors import VoltpipeError
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.launcher import Launcher
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.ingest import ingest
from voltpipe.recordings.raw.recording_records import RecordingRecord, RecordingStatus, catalogue


class IngestOutcome(StrEnum):
    """Outcome for one file or recording."""

    CONDITIONED = "conditioned"
    QUARANTINED = "quarantined"
    REFUSED = "refused"
    """The file was not copied into the lake."""


@dataclass(frozen=True)
class IngestResult:
    """Result for one recording, or for a file that was refused."""

    file: Path
    outcome: IngestOutcome
    detail: str
    """Path of the conditioned recording, with any warnings; otherwise the reason."""
    key: RecordingKey | None = None
    """None for a refused file."""

    @property
    def usable(self) -> bool:
        """Return whether there is a conditioned recording."""
        return self.outcome is IngestOutcome.CONDITIONED

    @property
    def line(self) -> str:
        """The result as printed in the terminal."""
        stored_as = f" as {self.key}" if self.key else ""
        return f"{self.file}: {self.outcome.value}{stored_as}: {self.detail}"


def ingest_files(
    lake: Lake, files: Sequence[Path], organoid: str, hints: Hints, name: str | None = None
) -> list[IngestResult]:
    """Ingest files and folders. A refused or quarantined one does not stop the others.

    Args:
        lake: the lake to store them in.
        files: files and folders anywhere.
        organoid: the organoid under which they are stored.
        hints: metadata that the files do not state.
        name: name of the recording in the lake, if there is only one file. None: the file names.
    """
    refused: list[IngestResult] = []
    keys: dict[RecordingKey, Path] = {}
    for file in files:
        try:
            keys |= dict.fromkeys(ingest(lake, file, organoid, hints, name), file)
        except VoltpipeError as error:
            refused.append(IngestResult(file, IngestOutcome.REFUSED, str(error)))
    if keys:
        Launcher(lake).ingest(keys)
    entries = {entry.key: entry for entry in catalogue(lake)} if keys else {}
    return refused + [_result(lake, file, entries[key]) for key, file in keys.items()]


def _result(lake: Lake, file: Path, entry: RecordingRecord) -> IngestResult:
    if entry.standing is RecordingStatus.QUARANTINED:
        return IngestResult(file, IngestOutcome.QUARANTINED, str(entry.reason), entry.key)
    warnings = "".join(f"; warning, {check.name}: {check.message}" for check in entry.doubts)
    return IngestResult(file, IngestOutcome.CONDITIONED, f"{lake.conditioned_path(entry.key)}{warnings}", entry.key)
