"""What `voltpipe ingest` does: raw files into the lake, then through the recordings' assets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voltpipe.errors import VoltpipeError
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.launcher import Launcher
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.catalogue import RecordingRecord, RecordingStatus, catalogue
from voltpipe.recordings.raw.ingest import ingest


@dataclass(frozen=True)
class IngestResult:
    """What became of one recording, or of a file that was refused."""

    line: str
    usable: bool


def ingest_files(
    lake: Lake, files: Sequence[Path], organoid: str, hints: Hints, name: str | None = None
) -> list[IngestResult]:
    """Ingest each file or folder; one that is refused or quarantined keeps no other from going on.

    Args:
        lake: where to.
        files: files and folders anywhere.
        organoid: whose recordings they are.
        hints: what the files cannot say.
        name: of the only one of them, in the lake; None for the files' own.
    """
    outcomes: list[IngestResult] = []
    keys: dict[RecordingKey, Path] = {}
    for file in files:
        try:
            keys |= dict.fromkeys(ingest(lake, file, organoid, hints, name), file)
        except VoltpipeError as error:
            outcomes.append(IngestResult(f"{file}: refused: {error}", usable=False))
    if keys:
        Launcher(lake).ingest(keys)
    judged = {entry.key: entry for entry in catalogue(lake)} if keys else {}
    return outcomes + [_outcome(lake, file, judged[key]) for key, file in keys.items()]


def _outcome(lake: Lake, file: Path, entry: RecordingRecord) -> IngestResult:
    if entry.standing is RecordingStatus.QUARANTINED:
        return IngestResult(f"{file}: quarantined as {entry.key}: {entry.reason}", usable=False)
    doubts = "".join(f"; look at it, {doubt.name}: {doubt.message}" for doubt in entry.doubts)
    return IngestResult(f"{file}: conditioned as {entry.key}: {lake.conditioned_path(entry.key)}{doubts}", usable=True)
