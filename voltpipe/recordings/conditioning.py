"""From a raw recording to a conditioned one: trimmed, filtered, z-scored by its own beginning, streamed to Parquet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from voltpipe.lake import RecordingKey
from voltpipe.recordings.blanking import Blanking
from voltpipe.recordings.chunks import sample_ranges
from voltpipe.recordings.conditioned_metadata import ConditionedMetadata, Provenance
from voltpipe.recordings.conditioned_writer import ConditionedWriter
from voltpipe.recordings.filters import FilterDesign, design
from voltpipe.recordings.moments import Moments
from voltpipe.recordings.recording import Recording, RecordingError
from voltpipe.recordings.settings import ConditioningSettings

Intervals = tuple[tuple[float, float], ...]
"""Half-open intervals in s from a raw recording's first sample, gaps not counted."""
Watch = Callable[[int, Float32[np.ndarray, "time channel"]], None]
"""Is shown a raw recording's chunks in order, each with its first sample."""


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
    """A recording with all that is decided before its samples stream: filter, blanks, mean and SD."""

    recording: Recording
    settings: ConditioningSettings
    stimulation_intervals_s: Intervals
    filter: FilterDesign
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
        stretches: list[tuple[int, int]] = []
        with ConditionedWriter(path, self.recording.channel_names) as writer:
            pieces = _pieces(self.recording, self.settings, self.stimulation_intervals_s, self.filter, watch)
            for start_sample, stop_sample, samples_mv in pieces:
                if stretches and start_sample == stretches[-1][0]:
                    stretches[-1] = start_sample, stop_sample
                else:
                    stretches.append((start_sample, stop_sample))
                    segment_starts.append(writer.n_samples)
                # What is not finite is the quality check's to name.
                with np.errstate(over="ignore", invalid="ignore"):
                    writer.write((samples_mv - self.mean_mv) / self.sd_mv)
            return writer.finish(self._provenance(key, source_digest, tuple(segment_starts), tuple(stretches)))

    def _provenance(
        self,
        key: RecordingKey,
        source_digest: str,
        segment_starts: tuple[int, ...],
        stretches: tuple[tuple[int, int], ...],
    ) -> Provenance:
        referenced = ("median of the channels subtracted",) if self.settings.common_reference else ()
        return Provenance(
            organoid=key.organoid,
            recording=key.recording,
            rate_hz=self.filter.rate_hz,
            channel_names=self.recording.channel_names,
            channel_types=self.recording.channel_types,
            mean_mv=tuple(self.mean_mv.tolist()),
            sd_mv=tuple(self.sd_mv.tolist()),
            first_sample=stretches[0][0],
            calibration_samples=self.settings.calibration_samples(self.filter.rate_hz),
            segment_starts=segment_starts,
            stretches=stretches,
            source_rate_hz=self.recording.rate_hz,
            steps=self.filter.steps + referenced,
            settings=self.settings,
            source_digest=source_digest,
            facts=dict(self.recording.facts),
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
            f"the recording has {recording.n_samples} samples, {least} are needed; record longer or trim less"
        )
    filter_design = design(settings, recording.rate_hz)
    missing = settings.calibration_samples(filter_design.rate_hz)
    moments = Moments(len(recording.channel_names))
    for _, _, samples_mv in _pieces(recording, settings, stimulation_intervals_s, filter_design):
        calibrating = samples_mv[:missing]
        moments.add(calibrating, np.isfinite(calibrating))
        missing -= len(calibrating)
        if not missing:
            break
    if missing:
        raise RecordingError(f"blanking leaves less than the {settings.calibration_s:g} s that mean and SD need")
    mean_mv, sd_mv = moments.mean.astype(np.float32), moments.sd().astype(np.float32)
    flat = [name for name, sd in zip(recording.channel_names, sd_mv, strict=True) if not sd > 0]
    if flat:
        raise RecordingError(
            f"channels that never change in the calibration span: {', '.join(flat)}; "
            "leave them out with the hint `exclude_channels`, or condition with exclude_bad_channels"
        )
    return Calibrated(recording, settings, stimulation_intervals_s, filter_design, mean_mv, sd_mv)


def _pieces(
    recording: Recording,
    settings: ConditioningSettings,
    stimulation_intervals_s: Intervals,
    filter_design: FilterDesign,
    watch: Watch | None = None,
) -> Iterator[tuple[int, int, Float32[np.ndarray, "time channel"]]]:
    """Filtered voltage, with the half-open range of raw samples that its stretch comes from, as far as it is seen."""
    blanking = Blanking(recording, settings, stimulation_intervals_s)
    borders = set(recording.segment_starts)
    stretch_start = last_stop = -1
    filtered = filter_design.begin()
    for start, stop in sample_ranges(recording):
        chunk = recording.read_mv(start, stop)
        if watch is not None:
            watch(start, chunk)
        for run_start, run_stop in blanking.kept_runs(start, chunk):
            if run_start != last_stop or run_start in borders:
                stretch_start, filtered = run_start, filter_design.begin()
            last_stop = run_stop
            samples_mv = filtered(chunk[run_start - start : run_stop - start])
            if settings.common_reference:
                samples_mv = samples_mv - np.median(samples_mv, axis=1, keepdims=True)
            yield stretch_start, run_stop, samples_mv
