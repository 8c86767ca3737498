"""The whole step from a raw file to its verdict: conditioned, or quarantined with the reason."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from voltpipe.files import file_digest, written_whole
from voltpipe.lake import Lake, RecordingKey
from voltpipe.recordings.conditioning import condition
from voltpipe.recordings.quality import CheckOutcome, QualityReport, Severity, check_quality
from voltpipe.recordings.quarantine import quarantine, release
from voltpipe.recordings.raw import open_raw, raw_path
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.recordings.store import conditioned_paths, open_conditioned

_QUALITY = QualitySettings()


class Verdict(StrEnum):
    """What became of a raw recording."""

    CONDITIONED = "conditioned"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class ConditioningOutcome:
    """The verdict on a raw recording."""

    verdict: Verdict
    reason: str
    """Why it is in quarantine; empty if it is not."""
    report: QualityReport | None
    """None if the file could not be read far enough."""
    path: Path | None
    """The conditioned file, if there is one."""
    figures: dict[str, float | int | str]
    """What is worth showing of the conditioned recording; empty if there is none."""


def condition_raw(
    lake: Lake, key: RecordingKey, settings: ConditioningSettings, quality: QualitySettings = _QUALITY
) -> ConditioningOutcome:
    """Check and condition a raw recording, or put it into quarantine.

    A recording that cannot be trusted is an outcome, not an exception; its former conditioned file is removed. Faults
    of the machine (a full disk) are raised, and leave everything as it was.

    Raises:
        LakeError: there is no such recording.
    """
    target = lake.conditioned_path(key)
    report: QualityReport | None = None
    source_digest: str | None = None
    with ExitStack() as held:
        try:
            raw = raw_path(lake, key)
            source_digest = file_digest(raw)
            recording = open_raw(lake, key)
            report = check_quality(recording, quality, settings)
            report.demand()
            with written_whole(target) as aside:
                metadata = condition(recording, aside, settings, key=key, source_digest=source_digest)
                # Of two duplicates conditioned at once, the second must see the first.
                held.enter_context(_one_at_a_time(lake))
                report = report.with_check(_duplicate(lake, key, metadata.samples_digest))
                report.demand()
        except RecordingError as error:
            target.unlink(missing_ok=True)
            quarantine(lake, key, str(error), report, source_digest)
            return ConditioningOutcome(Verdict.QUARANTINED, str(error), report, None, {})
        release(lake, key)
    return ConditioningOutcome(Verdict.CONDITIONED, "", report, target, _figures(target))


@contextmanager
def _one_at_a_time(lake: Lake) -> Iterator[None]:
    with (lake.conditioned / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _duplicate(lake: Lake, key: RecordingKey, samples_digest: str) -> CheckOutcome:
    same = []
    for other, path in conditioned_paths(lake).items():
        # A damaged file of another recording is that recording's affair.
        with suppress(RecordingError):
            if other != key and _samples_digest(path, path.stat().st_mtime_ns) == samples_digest:
                same.append(str(other))
    message = f"has the same samples as {', '.join(same)}; remove one of them" if same else "no other has these samples"
    return CheckOutcome(
        name="duplicate",
        passed=not same,
        severity=Severity.ERROR,
        message=message,
        figures={"duplicates": len(same)},
    )


@lru_cache(maxsize=10_000)
def _samples_digest(path: Path, modified_ns: int) -> str:
    # Opening thousands of footers for each new recording would take longer than conditioning it.
    return open_conditioned(path).samples_digest


def _figures(path: Path) -> dict[str, float | int | str]:
    conditioned = open_conditioned(path)
    return {
        "channels": len(conditioned.channel_names),
        "rate_hz": conditioned.rate_hz,
        "samples": conditioned.n_samples,
        "duration_s": conditioned.n_samples / conditioned.rate_hz,
        "segments": len(conditioned.segment_starts),
        "median_sd_mv": float(sorted(conditioned.sd_mv)[len(conditioned.sd_mv) // 2]),
        "size_bytes": path.stat().st_size,
        "source_digest": conditioned.source_digest,
        "digest": conditioned.digest,
    }
