"""Every recording that was judged, from what was noted of it then: no sample is read, whatever the lake's size."""

from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from voltpipe.files import write_json
from voltpipe.lake import Lake, RecordingKey
from voltpipe.recordings.glance import Glance
from voltpipe.recordings.quality_report import CheckOutcome, QualityReport
from voltpipe.recordings.quarantine import quarantined
from voltpipe.recordings.store import conditioned_paths
from voltpipe.settings import Settings


class Standing(StrEnum):
    """What is thought of a recording."""

    OK = "ok"
    WARN = "warn"
    """It is used, but someone should look."""
    QUARANTINED = "quarantined"


class Findings(Settings):
    """What was found of a recording that is used; beside its conditioned samples, as JSON."""

    seen: Glance
    report: QualityReport


@dataclass(frozen=True)
class CatalogueEntry:
    """What is known of one recording; None where nothing was noted, or the file could not be opened."""

    key: RecordingKey
    standing: Standing
    reason: str
    """Why it is in quarantine; empty if it is not."""
    seen: Glance | None
    report: QualityReport | None

    @property
    def doubts(self) -> tuple[CheckOutcome, ...]:
        """The checks that it failed."""
        return tuple(check for check in self.report.checks if not check.passed) if self.report else ()

    def figure(self, check: str, name: str) -> float | None:
        """A figure of one of the checks, where it was taken."""
        for outcome in self.report.checks if self.report else ():
            if outcome.name == check and name in outcome.figures:
                return float(outcome.figures[name])
        return None


def note_findings(lake: Lake, key: RecordingKey, findings: Findings) -> None:
    """Note what was found of a recording that is used."""
    write_json(_findings_path(lake, key), findings.model_dump(mode="json"))


def forget_findings(lake: Lake, key: RecordingKey) -> None:
    """Remove what was noted, if anything was."""
    _findings_path(lake, key).unlink(missing_ok=True)


def catalogue(lake: Lake) -> tuple[CatalogueEntry, ...]:
    """All recordings that were judged, in order of their keys."""
    entries = {key: _used(key, _findings_path(lake, key)) for key in conditioned_paths(lake)}
    for key, noted in quarantined(lake).items():
        entries[key] = CatalogueEntry(key, Standing.QUARANTINED, noted.reason, noted.seen, noted.report)
    return tuple(entries[key] for key in sorted(entries))


def _used(key: RecordingKey, path: Path) -> CatalogueEntry:
    # What cannot be read is as good as not noted: conditioning the recording again notes it anew.
    with suppress(OSError, ValidationError):
        findings = Findings.model_validate_json(path.read_bytes())
        doubted = any(not check.passed for check in findings.report.checks)
        return CatalogueEntry(key, Standing.WARN if doubted else Standing.OK, "", findings.seen, findings.report)
    return CatalogueEntry(key, Standing.OK, "", None, None)


def _findings_path(lake: Lake, key: RecordingKey) -> Path:
    return lake.conditioned_path(key).with_suffix(".json")
