"""From a raw recording to a conditioned one: trimmed, filtered, z-scored by its own beginning, streamed to Parquet."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from voltpipe.lake import RecordingKey
from voltpipe.recordings.conditioned_metadata import ConditionedMetadata, Provenance
from voltpipe.recordings.conditioned_writer import ConditionedWriter
from voltpipe.recordings.filters import design
from voltpipe.recordings.moments import Moments
from voltpipe.recordings.recording import FILTERED_FACT, Recording, RecordingError
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.stretches import Intervals, Stretches, Watch


def condition(
    recording: Recording, path: Path, settings: ConditioningSettings, *, key: RecordingKey, source_digest: str
) -> ConditionedMetadata:
    """Write the conditioned form of a recording to `path`; as `Calibrated.write`.

    Raises:
        RecordingError: as from `calibrate`.
    """
    return calibrate(recording, settings).write(path, key=key, source_digest=source_digest)


@dataclass(frozen=True)
class Calibrated:
    """A recording with all that is decided before its samples stream: what is left out, filter, mean and SD."""

    stretches: Stretches
    mean_mv: Float32[np.ndarray, " channel"]
    sd_mv: Float32[np.ndarray, " channel"]

    def write(
        self, path: Path, *, key: RecordingKey, source_digest: str, watch: Watch | None = None
    ) -> ConditionedMetadata:
        """Write the conditioned recording to `path`, in one pass.

        Memory is that of two row groups, whatever the recording's length, and the chunks it is read in change nothing.

        Args:
            path: a Parquet file to write; left half-written after an error, so use `written_whole`.
            key: names the recording.
            source_digest: SHA-256 of the raw file.
            watch: sees every raw chunk, so that the quality checks need no pass of their own.
        """
        segment_starts: list[int] = []
        ranges: list[tuple[int, int]] = []
        with ConditionedWriter(path, self.stretches.recording.channel_names) as writer:
            for start_sample, stop_sample, samples_mv in self.stretches.pieces(watch):
                if ranges and start_sample == ranges[-1][0]:
                    ranges[-1] = start_sample, stop_sample
                else:
                    ranges.append((start_sample, stop_sample))
                    segment_starts.append(writer.n_samples)
                # What is not finite is the quality check's to name.
                with np.errstate(over="ignore", invalid="ignore"):
                    writer.write((samples_mv - self.mean_mv) / self.sd_mv)
            return writer.finish(self._provenance(key, source_digest, tuple(segment_starts), tuple(ranges)))

    def _provenance(
        self,
        key: RecordingKey,
        source_digest: str,
        segment_starts: tuple[int, ...],
        ranges: tuple[tuple[int, int], ...],
    ) -> Provenance:
        recording, settings, rate_hz = self.stretches.recording, self.stretches.settings, self.stretches.filter.rate_hz
        positions_um = recording.positions_um
        return Provenance(
            organoid=key.organoid,
            recording=key.recording,
            rate_hz=rate_hz,
            channel_names=recording.channel_names,
            channel_types=recording.channel_types,
            positions_um=None if positions_um is None else tuple(map(tuple, positions_um.tolist())),
            mean_mv=tuple(self.mean_mv.tolist()),
            sd_mv=tuple(self.sd_mv.tolist()),
            first_sample=ranges[0][0],
            calibration_samples=settings.calibration_samples(rate_hz),
            segment_starts=segment_starts,
            stretches=ranges,
            source_rate_hz=recording.rate_hz,
            steps=self.stretches.steps,
            settings=settings,
            source_digest=source_digest,
            facts=dict(recording.facts),
            software_version=version("voltpipe"),
        )


def calibrate(
    recording: Recording, settings: ConditioningSettings, stimulation_intervals_s: Intervals = ()
) -> Calibrated:
    """Take mean and SD from the calibration span alone, so that no later sample changes any value before it.

    Args:
        recording: in mV, finite (`voltpipe.recordings.quality` sees to it).
        settings: what is left out, how it is filtered, and the calibration span.
        stimulation_intervals_s: what else is left out.

    Raises:
        RecordingError: the recording is too short or has no rate for its profile, or a channel never changes in the
            calibration span.
    """
    least = settings.least_samples(recording.rate_hz)
    if recording.n_samples < least:
        raise RecordingError(
            f"the recording has {recording.n_samples} samples, but {least} are needed. Record longer or trim less.",
            code="recording-too-short",
        )
    stretches = stretches_of(recording, settings, stimulation_intervals_s)
    mean_mv, sd_mv = _mean_and_sd(stretches)
    flat = [name for name, sd in zip(recording.channel_names, sd_mv, strict=True) if not sd > 0]
    if flat:
        raise RecordingError(
            f"channels that never change in the calibration span: {', '.join(flat)}. "
            "Leave them out with the hint `exclude_channels`, or condition with exclude_bad_channels.",
            code="channels-flat",
        )
    return Calibrated(stretches, mean_mv, sd_mv)


def stretches_of(
    recording: Recording, settings: ConditioningSettings, stimulation_intervals_s: Intervals = ()
) -> Stretches:
    """The recording's voltage as it is conditioned, but for the z-score.

    Raises:
        RecordingError: it has no rate for its profile, is too short for a common reference, or was filtered before.
    """
    stretches = Stretches(recording, settings, stimulation_intervals_s, design(settings, recording.rate_hz))
    if stretches.filter.steps and FILTERED_FACT in recording.facts:
        raise RecordingError(
            f"voltpipe exported it filtered as {recording.facts[FILTERED_FACT]}, and does not filter twice. "
            "Use the original raw recording, or the profile membrane.",
            code="already-filtered",
        )
    return replace(stretches, centre_mv=_mean_and_sd(stretches)[0]) if settings.common_reference else stretches


def _mean_and_sd(
    stretches: Stretches,
) -> tuple[Float32[np.ndarray, " channel"], Float32[np.ndarray, " channel"]]:
    """Of the calibration span: the first samples that are kept."""
    missing = stretches.settings.calibration_samples(stretches.filter.rate_hz)
    moments = Moments(len(stretches.recording.channel_names))
    for _, _, samples_mv in stretches.pieces():
        calibrating = samples_mv[:missing]
        moments.add(calibrating, np.isfinite(calibrating))
        missing -= len(calibrating)
        if not missing:
            return moments.mean.astype(np.float32), moments.sd().astype(np.float32)
    raise RecordingError(
        f"trimming and blanking leave less than the {stretches.settings.calibration_s:g} s needed for mean and SD. "
        "Record longer or trim less.",
        code="calibration-too-short",
    )
