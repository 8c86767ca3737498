"""The whole step from a raw file to its verdict: conditioned, or quarantined with the reason."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from voltpipe.lake.files import atomic_write
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.locks import exclusive_lock
from voltpipe.lake.paths import Lake
from voltpipe.recordings.conditioning.channel_selection import select_channels
from voltpipe.recordings.conditioning.condition import calibrate
from voltpipe.recordings.quality.assess_quality import check_quality, run_quality_checks
from voltpipe.recordings.quality.quality_report import QualityReport
from voltpipe.recordings.quality.recording_checks import compare_with_lake
from voltpipe.recordings.quality.signal_statistics import SignalStatisticsAccumulator
from voltpipe.recordings.raw.history import archive_previous_version, read_source, record_verdict
from voltpipe.recordings.raw.raw_folder import open_raw, raw_fingerprint, raw_path
from voltpipe.recordings.raw.recording_records import (
    RecordingHistory,
    RecordingOverview,
    Source,
    Verdict,
    recording_overview,
)
from voltpipe.recordings.raw.sidecar import read_hints
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned

_QUALITY = QualitySettings()


@dataclass(frozen=True)
class ConditioningOutcome:
    """Verdict on a raw recording."""

    verdict: Verdict
    reason: str
    """Reason for quarantine; empty if it is not quarantined."""
    report: QualityReport | None
    """Results of the quality checks; None if the samples could not be read."""
    path: Path | None
    """Conditioned file; None if there is none."""
    figures: dict[str, float | int | str]
    """Statistics of the conditioned recording for pages; empty if there is none."""
    history: RecordingHistory | None
    """Versions of the recording; None if its content could not be read."""
    code: str = ""
    """Code of the error that caused quarantine; empty if there is none."""


def condition_raw(
    lake: Lake, key: RecordingKey, settings: ConditioningSettings, quality: QualitySettings = _QUALITY
) -> ConditioningOutcome:
    """Check and condition a raw recording, or quarantine it.

    A recording that cannot be trusted is an outcome, not an exception. Its old conditioned file is removed, or moved to
    `history/` if it was made from other content. Faults of the machine, such as a full disk, are raised and change
    nothing. Conditioning settings in the sidecar override `settings`.

    Raises:
        LakeError: there is no such recording.
    """
    target = lake.conditioned_path(key)
    report: QualityReport | None = None
    source: Source | None = None
    seen: RecordingOverview | None = None
    state = ""
    with ExitStack() as held:
        try:
            raw = raw_path(lake, key)
            state = raw_fingerprint(raw)  # before the file is opened, so that later changes are noticed
            source = read_source(raw)
            opened = open_raw(lake, key)
            seen = recording_overview(opened, raw)
            hints = read_hints(raw)
            settings = hints.conditioning_before(settings)
            recording = select_channels(opened, settings)
            try:
                calibrated = calibrate(recording, settings, hints.stimulation_intervals_s)
            except RecordingError:
                # The checks name everything that is wrong, not only the first cause.
                report = check_quality(recording, quality, settings)
                report.demand()
                raise
            statistics = SignalStatisticsAccumulator(recording, settings)
            with atomic_write(target) as aside:
                metadata = calibrated.write(aside, key=key, source_digest=source.raw_digest, watch=statistics.add)
                kept_s = metadata.n_samples / metadata.rate_hz
                report = run_quality_checks(recording, statistics.figures(), quality, settings, kept_s)
                report.demand()
                # If two duplicates are conditioned at once, the second must find the first.
                held.enter_context(exclusive_lock(lake.conditioned / ".lock"))
                report = report.with_checks(compare_with_lake(lake, key, metadata))
                report.demand()
                archive_previous_version(lake, key, source)
        except RecordingError as error:
            reason = str(error)
            if source is not None:
                archive_previous_version(lake, key, source)
            target.unlink(missing_ok=True)
            record = record_verdict(
                lake,
                key,
                Verdict.QUARANTINED,
                raw_state=state,
                source=source,
                reason=reason,
                seen=seen,
                report=report,
            )
            return ConditioningOutcome(
                Verdict.QUARANTINED,
                reason,
                report,
                None,
                {},
                record.history if source is not None else None,
                error.code,
            )
    record = record_verdict(
        lake,
        key,
        Verdict.CONDITIONED,
        raw_state=state,
        source=source,
        seen=seen,
        report=report,
        digest=open_conditioned(target).digest,
        duration_s=kept_s,
    )
    return ConditioningOutcome(Verdict.CONDITIONED, "", report, target, _figures(target), record.history)


def _figures(path: Path) -> dict[str, float | int | str]:
    conditioned = open_conditioned(path)
    return {
        "channels": len(conditioned.channel_names),
        "rate_hz": conditioned.rate_hz,
        "samples": conditioned.n_samples,
        "duration_s": conditioned.n_samples / conditioned.rate_hz,
        "segments": len(conditioned.segment_starts),
        "profile": conditioned.metadata.settings.profile.value,
        "steps": "; ".join(conditioned.metadata.steps) or "none",
        "median_sd_mv": float(sorted(conditioned.sd_mv)[len(conditioned.sd_mv) // 2]),
        "size_bytes": path.stat().st_size,
        "source_digest": conditioned.source_digest,
        "digest": conditioned.digest,
    }
