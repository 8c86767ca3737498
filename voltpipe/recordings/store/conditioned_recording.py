"""Conditioned recordings: opening, listing and verifying them.

Each is a Parquet file with one float32 column per channel, z-scored. The voltage in mV can always be restored.
"""

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
from voltpipe.recordings.store.row_groups import PARQUET_ERRORS, ParquetRows


class ConditionedRecording:
    """A conditioned recording, read lazily. It is a `Recording` that also gives its samples in z-units.

    It keeps no file open and no samples in memory, so any number of recordings can be open at once.
    """

    def __init__(self, path: Path, footer: pq.FileMetaData, metadata: ConditionedMetadata) -> None:
        self.path = path
        self.metadata = metadata
        self.n_samples: int = footer.num_rows
        self._footer = footer

    @property
    def organoid(self) -> str:
        """The recorded organoid."""
        return self.metadata.organoid

    @property
    def recording(self) -> str:
        """The name of the recording within its organoid."""
        return self.metadata.recording

    @property
    def rate_hz(self) -> float:
        """Sampling rate in Hz."""
        return self.metadata.rate_hz

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The name of each channel."""
        return self.metadata.channel_names

    @property
    def channel_types(self) -> tuple[str, ...]:
        """The type of each channel, such as "excitatory", "electrode" or "unknown"."""
        return self.metadata.channel_types

    @property
    def segment_starts(self) -> tuple[int, ...]:
        """The first sample of each segment, counted among the kept samples."""
        return self.metadata.segment_starts

    @cached_property
    def positions_um(self) -> Float64[np.ndarray, "channel axis"] | None:
        """Positions of the electrodes (channel, axis) in um, with two or three axes; None if unknown."""
        positions_um = self.metadata.positions_um
        return None if positions_um is None else np.array(positions_um, np.float64)

    @property
    def facts(self) -> dict[str, str | int | float]:
        """Further metadata from the raw file and its sidecar."""
        return self.metadata.facts

    @property
    def segment_starts_s(self) -> tuple[float, ...]:
        """Start of each segment in s from the beginning of the raw recording, without the time of its gaps."""
        return tuple(start / self.metadata.source_rate_hz for start, _ in self.metadata.stretches)

    @property
    def first_sample(self) -> int:
        """The first kept sample of the raw recording."""
        return self.metadata.first_sample

    @property
    def calibration_samples(self) -> int:
        """Length of the calibration span: the samples from the beginning that give mean and SD."""
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
        """Digest of the samples and everything that determined them: source, settings, hints, software version."""
        return content_digest(self.metadata.model_dump(mode="json", exclude={"positions_um"}))

    @cached_property
    def mean_mv(self) -> Float32[np.ndarray, " channel"]:
        """Mean of each channel over the calibration span, in mV."""
        return np.array(self.metadata.mean_mv, dtype=np.float32)

    @cached_property
    def sd_mv(self) -> Float32[np.ndarray, " channel"]:
        """Standard deviation of each channel over the calibration span, in mV."""
        return np.array(self.metadata.sd_mv, dtype=np.float32)

    def read_z(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """Read a half-open range of samples in z-units.

        Raises:
            RecordingError: the range is outside the recording, or the file is damaged there.
        """
        check_range(start_sample, stop_sample, self.n_samples)
        try:
            return ParquetRows(self.path, self._footer).read(start_sample, stop_sample, self.channel_names)
        except PARQUET_ERRORS as error:
            raise _damaged(self.path, error) from error

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """Read a half-open range of samples in mV.

        Raises:
            RecordingError: the range is outside the recording, or the file is damaged there.
        """
        return np.asarray(self.read_z(start_sample, stop_sample) * self.sd_mv + self.mean_mv)


def is_conditioned(path: Path) -> bool:
    """Return whether a file is a conditioned recording written by voltpipe."""
    if path.suffix != ".parquet":
        return False
    try:
        return METADATA_KEY in (ParquetRows(path).footer.metadata or {})
    except PARQUET_ERRORS:
        return False


def open_conditioned(path: Path | str) -> ConditionedRecording:
    """Open a conditioned recording.

    Raises:
        RecordingError: there is no file at `path`, or it is damaged.
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
    except (*PARQUET_ERRORS, KeyError, ValidationError) as error:
        raise _damaged(path, error) from error


def conditioned_paths(lake: Lake, organoid: str | None = None) -> dict[RecordingKey, Path]:
    """List the conditioned recordings of one organoid or of all, sorted by key."""
    paths = lake.conditioned.glob(f"{organoid or '[!.]*'}/[!.]*.parquet")
    return dict(sorted((RecordingKey(path.parent.name, path.stem), path) for path in paths))


def conditioned_recordings(lake: Lake, organoid: str | None = None) -> dict[str, ConditionedRecording]:
    """Open the conditioned recordings of one organoid or of all, by partition key.

    Raises:
        RecordingError: a recording is damaged.
    """
    return {str(key): open_conditioned(path) for key, path in conditioned_paths(lake, organoid).items()}


_REMEDY = " Delete it and condition the recording again."


def _damaged(path: Path, error: Exception) -> RecordingError:
    reason = " ".join(str(error).split())
    return RecordingError(
        f"{path.name} is damaged or not a conditioned recording: {reason}.{_REMEDY}", code="conditioned-file-damaged"
    )


_CHUNK_SAMPLES = 65_536


def verify_recordings(
    lake: Lake, organoid: str | None = None, *, read_all: bool = False
) -> tuple[dict[str, ConditionedRecording], dict[str, str]]:
    """Open the conditioned recordings, and set damaged files aside.

    A damaged file is renamed to a hidden name in its folder. Then no reader finds it again, and the search for arrivals
    has the recording conditioned again.

    Args:
        lake: the data lake.
        organoid: the organoid whose recordings are opened; None for all.
        read_all: whether to read all samples, which have checksums, instead of only the footers.

    Returns:
        The intact recordings, and the errors of the damaged ones, both by partition key.
    """
    intact: dict[str, ConditionedRecording] = {}
    damaged: dict[str, str] = {}
    for key, path in conditioned_paths(lake, organoid).items():
        try:
            recording = open_conditioned(path)
            for start in range(0, recording.n_samples, _CHUNK_SAMPLES) if read_all else ():
                recording.read_z(start, min(start + _CHUNK_SAMPLES, recording.n_samples))
        except RecordingError as error:
            os.replace(path, path.with_name(f".{path.name}.damaged"))
            damaged[str(key)] = f"{str(error).removesuffix(_REMEDY)} It was set aside and will be conditioned again."
        else:
            intact[str(key)] = recording
    return intact, damaged
