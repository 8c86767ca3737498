"""From a raw recording to a conditioned one: trimmed, z-scored by its own beginning, streamed to Parquet."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from voltpipe.lake import RecordingKey
from voltpipe.recordings.chunks import sample_ranges
from voltpipe.recordings.conditioned_metadata import ConditionedMetadata, Provenance
from voltpipe.recordings.moments import Moments
from voltpipe.recordings.recording import Recording, RecordingError
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store import write_conditioned


def condition(
    recording: Recording, path: Path, settings: ConditioningSettings, *, key: RecordingKey, source_digest: str
) -> ConditionedMetadata:
    """Write the conditioned form of a recording to `path`.

    Mean and SD come from the calibration span alone, so no later sample changes any value before it. Memory is that
    of a chunk, whatever the recording's length.

    Args:
        recording: in mV, finite (`voltpipe.recordings.quality` sees to it).
        path: a Parquet file to write; left half-written after an error, so use `written_whole`.
        settings: what is trimmed, and the calibration span.
        key: names the recording.
        source_digest: SHA-256 of the raw file.

    Raises:
        RecordingError: the recording is too short, or a channel never changes in the calibration span.
    """
    least = settings.least_samples(recording.rate_hz)
    if recording.n_samples < least:
        raise RecordingError(f"{key} has {recording.n_samples} samples, {least} are needed; record longer or trim less")
    first = settings.first_sample(recording.rate_hz)
    calibration_samples = settings.calibration_samples(recording.rate_hz)
    mean_mv, sd_mv = _calibrate(recording, first, first + calibration_samples)
    provenance = Provenance(
        organoid=key.organoid,
        recording=key.recording,
        rate_hz=recording.rate_hz,
        channel_names=recording.channel_names,
        channel_types=recording.channel_types,
        mean_mv=tuple(mean_mv.tolist()),
        sd_mv=tuple(sd_mv.tolist()),
        first_sample=first,
        calibration_samples=calibration_samples,
        segment_starts=(0, *(start - first for start in recording.segment_starts if start > first)),
        settings=settings,
        source_digest=source_digest,
        facts=dict(recording.facts),
        software_version=version("voltpipe"),
    )
    return write_conditioned(path, provenance, _z_scored(recording, first, mean_mv, sd_mv))


def _calibrate(
    recording: Recording, start_sample: int, stop_sample: int
) -> tuple[Float32[np.ndarray, " channel"], Float32[np.ndarray, " channel"]]:
    moments = Moments(len(recording.channel_names))
    for start, stop in sample_ranges(recording, start_sample, stop_sample):
        chunk = recording.read_mv(start, stop)
        moments.add(chunk, np.isfinite(chunk))
    mean_mv, sd_mv = moments.mean.astype(np.float32), moments.sd().astype(np.float32)
    flat = [name for name, sd in zip(recording.channel_names, sd_mv, strict=True) if not sd > 0]
    if flat:
        raise RecordingError(
            f"channels that never change in the calibration span: {', '.join(flat)}; "
            "leave them out with the hint `exclude_channels`"
        )
    return mean_mv, sd_mv


def _z_scored(
    recording: Recording,
    first_sample: int,
    mean_mv: Float32[np.ndarray, " channel"],
    sd_mv: Float32[np.ndarray, " channel"],
) -> Iterator[Float32[np.ndarray, "time channel"]]:
    for start, stop in sample_ranges(recording, first_sample):
        yield (recording.read_mv(start, stop) - mean_mv) / sd_mv
