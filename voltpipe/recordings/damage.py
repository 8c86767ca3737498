"""Conditioned recordings that were damaged on the disk: found out, and made again from their raw files."""

import os

from voltpipe.lake import Lake
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.store import ConditionedRecording, conditioned_paths, open_conditioned

_CHUNK_SAMPLES = 65_536


def sound_recordings(
    lake: Lake, organoid: str | None = None, *, read_all: bool = False
) -> tuple[dict[str, ConditionedRecording], dict[str, str]]:
    """The conditioned recordings, opened, and what is wrong with those that are damaged; both by partition key.

    A damaged file is set aside, hidden beside its place, so that no reader stumbles over it again and whoever looks for
    arrivals has the recording conditioned anew.

    Args:
        lake: the data lake.
        organoid: of this one only.
        read_all: look at every sample, each of which has a checksum, not at the footers alone.
    """
    sound: dict[str, ConditionedRecording] = {}
    damaged: dict[str, str] = {}
    for key, path in conditioned_paths(lake, organoid).items():
        try:
            recording = open_conditioned(path)
            for start in range(0, recording.n_samples, _CHUNK_SAMPLES) if read_all else ():
                recording.read_z(start, min(start + _CHUNK_SAMPLES, recording.n_samples))
        except RecordingError as error:
            os.replace(path, path.with_name(f".{path.name}.damaged"))
            damaged[str(key)] = f"{error} It was set aside and will be conditioned again."
        else:
            sound[str(key)] = recording
    return sound, damaged
