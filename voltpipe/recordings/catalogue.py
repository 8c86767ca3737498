"""What the lake holds in conditioned form."""

from pathlib import Path

from voltpipe.lake import Lake, RecordingKey
from voltpipe.recordings.store import ConditionedRecording, open_conditioned


def conditioned_paths(lake: Lake, organoid: str | None = None) -> dict[RecordingKey, Path]:
    """The lake's conditioned recordings, in order of their keys; of one organoid or of all."""
    paths = lake.conditioned.glob(f"{organoid or '[!.]*'}/[!.]*.parquet")
    return dict(sorted((RecordingKey(path.parent.name, path.stem), path) for path in paths))


def conditioned_recordings(lake: Lake, organoid: str | None = None) -> dict[str, ConditionedRecording]:
    """The same, opened, by partition key.

    Raises:
        RecordingError: one of them is damaged.
    """
    return {str(key): open_conditioned(path) for key, path in conditioned_paths(lake, organoid).items()}
