"""What `voltpipe ingest` does: raw files into the lake, then through the recordings' assets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voltpipe.errors import VoltpipeError
from voltpipe.lake import Lake, RecordingKey
from voltpipe.pipeline.launch import Launcher
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.ingest import ingest
from voltpipe.recordings.quarantine import quarantined


@dataclass(frozen=True)
class Ingested:
    """What became of one recording, or of a file that was refused."""

    line: str
    usable: bool


def ingest_files(lake: Lake, files: Sequence[Path], organoid: str, hints: Hints) -> list[Ingested]:
    """Ingest each file or folder; one that is refused or quarantined keeps no other from going on."""
    outcomes: list[Ingested] = []
    keys: dict[RecordingKey, Path] = {}
    for file in files:
        try:
            keys |= dict.fromkeys(ingest(lake, file, organoid, hints), file)
        except VoltpipeError as error:
            outcomes.append(Ingested(f"{file}: refused: {error}", usable=False))
    if keys:
        Launcher(lake).ingest(keys)
    bad = quarantined(lake)
    for key, file in keys.items():
        if key in bad:
            outcomes.append(Ingested(f"{file}: quarantined as {key}: {bad[key].reason}", usable=False))
        else:
            outcomes.append(Ingested(f"{file}: conditioned as {key}: {lake.conditioned_path(key)}", usable=True))
    return outcomes
