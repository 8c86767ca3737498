"""What `voltpipe ingest` does: raw files into the lake, then through the recordings' assets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voltpipe.errors import VoltpipeError
from voltpipe.lake import Lake
from voltpipe.pipeline.launch import Launcher
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.quarantine import quarantined
from voltpipe.recordings.raw import ingest


@dataclass(frozen=True)
class Ingested:
    """What became of one file."""

    line: str
    usable: bool


def ingest_files(lake: Lake, files: Sequence[Path], organoid: str, hints: Hints) -> list[Ingested]:
    """Ingest each file; one that is refused or quarantined keeps no other from going on."""
    outcomes, keys = [], {}
    for file in files:
        try:
            keys[file] = ingest(lake, file, organoid, hints)
        except VoltpipeError as error:
            outcomes.append(Ingested(f"{file}: refused: {error}", usable=False))
    if keys:
        Launcher(lake).ingest(keys.values())
    bad = quarantined(lake)
    for file, key in keys.items():
        if key in bad:
            outcomes.append(Ingested(f"{file}: quarantined as {key}: {bad[key].reason}", usable=False))
        else:
            outcomes.append(Ingested(f"{file}: conditioned as {key}: {lake.conditioned_path(key)}", usable=True))
    return outcomes
