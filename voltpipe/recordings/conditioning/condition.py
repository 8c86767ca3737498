"""Conditioning: trim, filter, z-score by the recording's beginning, and stream to Parquet or read lazily."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.filters import design_filter
from voltpipe.recordings.conditioning.segments import ConditionedSegments, Intervals, Watch
from voltpipe.recordings.recording import FILTERED_FACT, Recording, RecordingError, check_range
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_writer import ConditionedMetadata, ConditionedWriter, ConditioningProvenance
from voltpipe.signals.running_statistics import RunningMoments


def condition(
    recording: Recording, path: Path, settings: ConditioningSettings, *, key: RecordingKey, source_digest: str
) -> ConditionedMetadata:
    """Calibrate a recording and write its conditioned form to `path`.

    Raises:
        RecordingError: see `calibrate`.
    """
    return calibrate(recording, settings).write(path, key=key, source_digest=source_digest)


@dataclass(frozen=True)
class CalibratedRecording:
    """Recording with everything that is decided before its samples stream: segments, filter, mean and SD."""

    segments: ConditionedSegments
    mean_mv: Float32[np.ndarray, " channel"]
    sd_mv: Float32[np.ndarray, " channel"]

    def write(
        self, path: Path, *, key: RecordingKey, source_digest: str, watch: Watch | None = None
    ) -> ConditionedMetadata:
        """Write the conditioned recording to `path` in one pass.

        Memory is bounded by two row groups. The chunk size does not change the result.

        Args:
            path: Parquet file to write. After an error it is incomplete, so use `atomic_write`.
            key: key of the recording.
            source_digest: SHA-256 of the raw file.
            watch: receives every raw chunk, so that the quality checks need no second pass.
        """
        segment_starts: list[int] = []
        ranges: list[tuple[int, int]] = []
        with ConditionedWriter(path, self.segments.recording.channel_names) as writer:
            for start_sample, stop_sample, samples_mv in self.segments.chunks(watch):
                if ranges and start_sample == ranges[-1][0]:
                    ranges[-1] = start_sample, stop_sample
                else:
                    ranges.append((start_sample, stop_sample))
                    segment_starts.append(writer.n_samples)
                # The quality check reports samples that are not finite.
                with np.errstate(over="ignore", invalid="ignore"):
                    writer.write((samples_mv - self.mean_mv) / self.sd_mv)
            return writer.finish(self._provenance(key, source_digest, tuple(segment_starts), tuple(ranges)))

    def _provenance(
        self,
        key: RecordingKey,
        source_digest: str,
        segment_starts: tuple[int, ...],
        ranges: tuple[tuple[int, int], ...],
    ) -> ConditioningProvenance:
        recording, settings, rate_hz = self.segments.recording, self.segments.settings, self.segments.filter.rate_hz
        positions_um = recording.positions_um
        return ConditioningProvenance(
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
            steps=self.segments.steps,
            settings=settings,
            source_digest=source_digest,
            facts=dict(recording.facts),
            software_version=version("voltpipe"),
        )


def calibrate(
    recording: Recording, settings: ConditioningSettings, stimulation_intervals_s: Intervals = ()
) -> CalibratedRecording:
    """Take mean and SD from the calibration span alone, so that later samples change no earlier value.

    Args:
        recording: raw recording; the quality checks ensure that it is finite.
        settings: trimming, blanking, filter and calibration span.
        stimulation_intervals_s: intervals to leave out, in s.

    Raises:
        RecordingError: the recording is too short or has no rate for its profile, or a channel never changes in the
            calibration span.
    """
    least = settings.least_samples(recording.rate_hz)
    if recording.n_samples < least:
        raise RecordingError(
            f"The recording has {recording.n_samples} samples, but {least} are needed. Record longer or trim less.",
            code="recording-too-short",
        )
    segments = segment_recording(recording, settings, stimulation_intervals_s)
    mean_mv, sd_mv = _mean_and_sd(segments)
    flat = [name for name, sd in zip(recording.channel_names, sd_mv, strict=True) if not sd > 0]
    if flat:
        raise RecordingError(
            f"Channels that never change in the calibration span: {', '.join(flat)}. "
            "Leave them out with the hint `exclude_channels`, or condition with exclude_bad_channels.",
            code="channels-flat",
        )
    return CalibratedRecording(segments, mean_mv, sd_mv)


def segment_recording(
    recording: Recording, settings: ConditioningSettings, stimulation_intervals_s: Intervals = ()
) -> ConditionedSegments:
    """Divide a recording into conditioned segments, without the z-score.

    Raises:
        RecordingError: the rate does not fit the profile, the recording is too short for a common reference, or it was
            filtered before.
    """
    segments = ConditionedSegments(
        recording, settings, stimulation_intervals_s, design_filter(settings, recording.rate_hz)
    )
    if segments.filter.steps and FILTERED_FACT in recording.facts:
        raise RecordingError(
            f"voltpipe exported this recording filtered as {recording.facts[FILTERED_FACT]}, and does not filter "
            "twice. Use the original raw recording, or the profile membrane.",
            code="already-filtered",
        )
    return replace(segments, centre_mv=_mean_and_sd(segments)[0]) if settings.common_reference else segments


def _mean_and_sd(
    segments: ConditionedSegments,
) -> tuple[Float32[np.ndarray, " channel"], Float32[np.ndarray, " channel"]]:
    """Return mean and SD of the calibration span, the first samples that are kept."""
    missing = segments.settings.calibration_samples(segments.filter.rate_hz)
    moments = RunningMoments(len(segments.recording.channel_names))
    for _, _, samples_mv in segments.chunks():
        calibrating = samples_mv[:missing]
        moments.add(calibrating, np.isfinite(calibrating))
        missing -= len(calibrating)
        if not missing:
            return moments.mean.astype(np.float32), moments.sd().astype(np.float32)
    raise RecordingError(
        f"Trimming and blanking leave less than the {segments.settings.calibration_s:g} s needed for mean and SD. "
        "Record longer or trim less.",
        code="calibration-too-short",
    )


def open_as_conditioned(
    recording: Recording, settings: ConditioningSettings, stimulation_intervals_s: Intervals = ()
) -> Recording:
    """Open a recording as it would be conditioned, without the z-score; the same object if nothing changes.

    Raises:
        RecordingError: the rate does not fit the profile, or no sample is left.
    """
    segments = segment_recording(recording, settings, stimulation_intervals_s)
    keeps_all = not settings.trim_ms and settings.saturation_mv is None and not stimulation_intervals_s
    return recording if keeps_all and not segments.steps else LazyConditionedRecording(segments)


class LazyConditionedRecording:
    """Recording whose samples are filtered when they are read.

    Forward reads share one pass over the raw samples. A read that goes back starts a new pass. If saturation decides
    what is left out, another pass finds the segments first. Memory holds the requested samples and one chunk.
    """

    def __init__(self, segments: ConditionedSegments) -> None:
        recording = segments.recording
        self.rate_hz = segments.filter.rate_hz
        self.channel_names = recording.channel_names
        self.channel_types = recording.channel_types
        self.positions_um = recording.positions_um
        self.facts = recording.facts
        self._segments = segments
        begins: dict[int, int] = {}
        n_samples = 0
        for raw_start, _, samples_mv in _as_long(segments).chunks():
            begins.setdefault(raw_start, n_samples)
            n_samples += len(samples_mv)
        if not begins:
            raise RecordingError(
                "Trimming, blanking and the filter's warm-up leave no samples. Record longer or trim less.",
                code="nothing-left",
            )
        self.n_samples = n_samples
        self.segment_starts = tuple(begins.values())
        self.segment_starts_s = tuple(raw_start / recording.rate_hz for raw_start in begins)
        """Start of each segment in s from the start of the raw recording, without its gaps."""
        self._pieces = segments.chunks()
        self._held_start = 0
        self._held_mv: Float32[np.ndarray, "time channel"] = np.empty((0, len(self.channel_names)), np.float32)

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """Return the samples of the half-open range [start_sample, stop_sample) in mV.

        Raises:
            RecordingError: the range exceeds the recording, or the raw file cannot be read there.
        """
        check_range(start_sample, stop_sample, self.n_samples)
        if start_sample < self._held_start:
            self._pieces, self._held_start, self._held_mv = self._segments.chunks(), 0, self._held_mv[:0]
        self._drop_before(start_sample)
        while self._held_start + len(self._held_mv) < stop_sample:
            _, _, samples_mv = next(self._pieces)
            self._held_mv = np.concatenate([self._held_mv, samples_mv])
            self._drop_before(start_sample)
        return self._held_mv[: stop_sample - start_sample].copy()

    def _drop_before(self, sample: int) -> None:
        passed = min(sample - self._held_start, len(self._held_mv))
        self._held_start, self._held_mv = self._held_start + passed, self._held_mv[passed:]


def _as_long(segments: ConditionedSegments) -> ConditionedSegments:
    """Return segments of the same lengths, without samples to read if time alone decides what is left out."""
    if segments.settings.saturation_mv is not None:
        return segments
    recording = segments.recording
    silent = _Silent(recording.rate_hz, recording.n_samples, recording.segment_starts)
    return replace(segments, recording=silent, centre_mv=None)


@dataclass(frozen=True)
class _Silent:
    """Recording of one channel at 0 mV."""

    rate_hz: float
    n_samples: int
    segment_starts: tuple[int, ...]
    channel_names: tuple[str, ...] = ("silent",)
    channel_types: tuple[str, ...] = ("unknown",)
    positions_um: None = None
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        return np.zeros((stop_sample - start_sample, 1), np.float32)
