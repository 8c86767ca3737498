"""The conditioned recording: one Parquet file, one float32 column a channel, z-scored, mV always restorable."""

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float32, Float64
from pydantic import ValidationError

from voltpipe.lake.files import content_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.recording import RecordingError, check_range
from voltpipe.recordings.store.conditioned_writer import METADATA_KEY, ConditionedMetadata
from voltpipe.recordings.store.row_groups import DAMAGE, ParquetRows


class ConditionedRecording:
    """A conditioned recording, read lazily; a `Recording` that also has its samples in z-units.

    No file is held open and no sample kept, so that any number of recordings can be held at once.
    """

    def __init__(self, path: Path, footer: pq.FileMetaData, metadata: ConditionedMetadata) -> None:
        self.path = path
        self.metadata = metadata
        self.n_samples: int = footer.num_rows
        self._footer = footer

    @property
    def organoid(self) -> str:
        """The organoid it is of."""
        return self.metadata.organoid

    @property
    def recording(self) -> str:
        """Its name among that organoid's recordings."""
        return self.metadata.recording

    @property
    def rate_hz(self) -> float:
        """Samples a second."""
        return self.metadata.rate_hz

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name a channel."""
        return self.metadata.channel_names

    @property
    def channel_types(self) -> tuple[str, ...]:
        """What each channel records."""
        return self.metadata.channel_types

    @property
    def segment_starts(self) -> tuple[int, ...]:
        """The first sample of each stretch without a gap, among the kept samples."""
        return self.metadata.segment_starts

    @cached_property
    def positions_um(self) -> Float64[np.ndarray, "channel axis"] | None:
        """Where each channel's electrode lies (x, y, perhaps z), in um; None where nobody said."""
        positions_um = self.metadata.positions_um
        return None if positions_um is None else np.array(positions_um, np.float64)

    @property
    def facts(self) -> dict[str, str | int | float]:
        """What the raw file and its sidecar say besides."""
        return self.metadata.facts

    @property
    def segment_starts_s(self) -> tuple[float, ...]:
        """When each segment begins, in s from the raw recording's beginning, gaps in it not counted."""
        return tuple(start / self.metadata.source_rate_hz for start, _ in self.metadata.stretches)

    @property
    def first_sample(self) -> int:
        """The sample of the raw recording that is the first one here."""
        return self.metadata.first_sample

    @property
    def calibration_samples(self) -> int:
        """Mean and SD are of this many samples from the beginning."""
        return self.metadata.calibration_samples

    @property
    def source_digest(self) -> str:
        """SHA-256 of the raw file."""
        return self.metadata.source_digest

    @property
    def samples_digest(self) -> str:
        """SHA-256 of the z-scored samples."""
        return self.metadata.samples_digest

    @cached_property
    def digest(self) -> str:
        """Names the samples and all that made them: source, settings, hints, software version."""
        return content_digest(self.metadata.model_dump(mode="json", exclude={"positions_um"}))

    @cached_property
    def mean_mv(self) -> Float32[np.ndarray, " channel"]:
        """Each channel's mean over the calibration span, in mV."""
        return np.array(self.metadata.mean_mv, dtype=np.float32)

    @cached_property
    def sd_mv(self) -> Float32[np.ndarray, " channel"]:
        """Likewise the standard deviation."""
        return np.array(self.metadata.sd_mv, dtype=np.float32)

    def read_z(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """The samples of the half-open range in z-units.

        Raises:
            RecordingError: the range reaches out of the recording, or the file is damaged there.
        """
        check_range(start_sample, stop_sample, self.n_samples)
        try:
            return ParquetRows(self.path, self._footer).read(start_sample, stop_sample, self.channel_names)
        except DAMAGE as error:
            raise _damaged(self.path, error) from error

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """The samples of the half-open range in mV; as `read_z`."""
        return np.asarray(self.read_z(start_sample, stop_sample) * self.sd_mv + self.mean_mv)


def is_conditioned(path: Path) -> bool:
    """Whether a file was written by voltpipe as a conditioned recording."""
    if path.suffix != ".parquet":
        return False
    try:
        return METADATA_KEY in (ParquetRows(path).footer.metadata or {})
    except DAMAGE:
        return False


def open_conditioned(path: Path | str) -> ConditionedRecording:
    """Open a conditioned recording.

    Raises:
        RecordingError: there is none at `path`, or it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise RecordingError(
            f"{path} is not a file. Expected a conditioned recording.", code="conditioned-file-missing"
        )
    try:
        footer = ParquetRows(path).footer
        content = (footer.metadata or {})[METADATA_KEY]
        return ConditionedRecording(path, footer, ConditionedMetadata.model_validate_json(content))
    except (*DAMAGE, KeyError, ValidationError) as error:
        raise _damaged(path, error) from error


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


def _damaged(path: Path, error: Exception) -> RecordingError:
    reason = " ".join(str(error).split())
    return RecordingError(
        f"{path.name} is damaged or not a conditioned recording: {reason}. "
        "Delete it and condition the recording again.",
        code="conditioned-file-damaged",
    )


_CHUNK_SAMPLES = 65_536


def verify_recordings(
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
