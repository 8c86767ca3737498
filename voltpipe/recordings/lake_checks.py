"""Checks of a recording against the lake's other conditioned recordings."""

from collections import Counter
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from voltpipe.lake import Lake, RecordingKey
from voltpipe.recordings.conditioned_metadata import ConditionedMetadata
from voltpipe.recordings.quality_report import CheckOutcome, Severity
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.store import conditioned_paths, open_conditioned


def compare(lake: Lake, key: RecordingKey, metadata: ConditionedMetadata) -> tuple[CheckOutcome, CheckOutcome]:
    """Whether a recording is like its organoid's others, and like none too much."""
    others: dict[RecordingKey, tuple[str, float, int]] = {}
    for other, path in conditioned_paths(lake).items():
        # A damaged file of another recording is that recording's affair.
        with suppress(RecordingError):
            if other != key:
                others[other] = _identity(path, path.stat().st_mtime_ns)
    layouts = Counter(identity[1:] for other, identity in others.items() if other.organoid == key.organoid)
    return _alike(layouts, metadata), _duplicate(others, metadata.samples_digest)


def _alike(layouts: Counter[tuple[float, int]], metadata: ConditionedMetadata) -> CheckOutcome:
    rate_hz, n_channels = metadata.rate_hz, len(metadata.channel_names)
    usual = max(layouts, key=lambda layout: (layouts[layout], layout), default=(rate_hz, n_channels))
    passed = usual == (rate_hz, n_channels)
    message = "rate and number of channels are those of the organoid's other recordings"
    if not passed:
        message = (
            f"{n_channels} channels at {rate_hz:g} Hz, but most of the organoid's other recordings have {usual[1]} at "
            f"{usual[0]:g} Hz. One forecaster cannot be trained on both."
        )
    return CheckOutcome(
        name="alike",
        passed=passed,
        severity=Severity.WARN,
        message=message,
        figures={"usual_channels": usual[1], "usual_rate_hz": usual[0], "compared_with": layouts.total()},
    )


def _duplicate(others: dict[RecordingKey, tuple[str, float, int]], samples_digest: str) -> CheckOutcome:
    same = [str(other) for other, identity in others.items() if identity[0] == samples_digest]
    message = (
        f"has the same samples as {', '.join(same)}. Remove one of them." if same else "no other has these samples"
    )
    return CheckOutcome(
        name="duplicate",
        passed=not same,
        severity=Severity.ERROR,
        message=message,
        figures={"duplicates": len(same)},
    )


@lru_cache(maxsize=10_000)
def _identity(path: Path, modified_ns: int) -> tuple[str, float, int]:
    """Digest of the samples, rate, number of channels.

    Opening thousands of footers for each new recording would take longer than conditioning it.
    """
    recording = open_conditioned(path)
    return recording.samples_digest, recording.rate_hz, len(recording.channel_names)
