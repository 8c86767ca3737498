"""The lake page: all recordings, their quality, and what each is used for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from math import fsum
from pathlib import Path
from typing import Any

from voltpipe.lake.files import atomic_write
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.quality.assess_quality import QUALITY_CHECKS
from voltpipe.recordings.raw.raw_folder import RawListing, list_raw
from voltpipe.recordings.raw.recording_records import RecordingRecord, RecordingStatus, catalogue
from voltpipe.reporting.figures.figure_style import RenderedFigure
from voltpipe.reporting.figures.lake_figures import QUALITY_MEASURES, UNKNOWN, duration_text, lake_figures, rate_text
from voltpipe.reporting.page import render_template, template_figures
from voltpipe.windows.split_manifest import SplitManifest
from voltpipe.windows.splits import Role

MOST_REASONS = 100
"""Maximum number of reasons listed in a section. The table of all recordings holds every verdict."""

LEFT_OUT, NOT_ASSIGNED = "left out", "not assigned"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class LakeReport:
    """The lake page, and those of its contents that Dagster shows too."""

    path: Path
    verdict: str
    counts: dict[str, int | float]
    reasons: dict[str, str]
    """Reasons for quarantine, by key."""
    figures: dict[str, RenderedFigure]


def write_lake_report(lake: Lake) -> LakeReport:
    """Write `reports/lake.html` as an atomic write, from the records of the recordings; no sample is read."""
    entries = catalogue(lake)
    raw = list_raw(lake, known=[entry.key for entry in entries])
    report = LakeReport(
        path=lake.page,
        verdict=lake_verdict(entries),
        counts=_counts(entries),
        reasons={str(entry.key): entry.reason for entry in entries if entry.standing is RecordingStatus.QUARANTINED},
        figures=lake_figures(entries),
    )
    with atomic_write(report.path) as temporary:
        temporary.write_text(_page(report, entries, raw, SplitManifest.load(lake.windows)), encoding="utf-8")
    return report


def lake_verdict(entries: Sequence[RecordingRecord]) -> str:
    """Count recordings, organoids and recordings that need attention, in one or two sentences."""
    if not entries:
        return "No recording has been checked yet."
    counts = _counts(entries)
    of_organoids = f"of {_counted(int(counts['organoids']), 'organoid')}"
    total = f"{_counted(len(entries), 'recording')} {of_organoids}, {duration_text(3600 * counts['hours'])} usable."
    warned, quarantined = counts[RecordingStatus.WARN.value], counts[RecordingStatus.QUARANTINED.value]
    if not warned and not quarantined:
        return f"{total} All passed every check."
    unusable = f"{quarantined:,} quarantined" if quarantined else "None quarantined"
    return f"{total} {unusable}, {warned:,} with a warning." if warned else f"{total} {unusable}."


def _counts(entries: Sequence[RecordingRecord]) -> dict[str, int | float]:
    standings = Counter(entry.standing for entry in entries)
    return {
        "recordings": len(entries),
        "organoids": len({entry.key.organoid for entry in entries}),
        "hours": sum(map(_usable_s, entries)) / 3600,
        **{standing.value: standings[standing] for standing in RecordingStatus},
    }


def _usable_s(entry: RecordingRecord) -> float:
    """Return the duration after trimming and blanking, in s; 0 if quarantined."""
    return entry.figure("duration", "kept_s") or 0.0 if entry.standing is not RecordingStatus.QUARANTINED else 0.0


def _page(
    report: LakeReport, entries: Sequence[RecordingRecord], raw: RawListing, manifest: SplitManifest | None
) -> str:
    splits = _split_names(entries, manifest)
    by_organoid = {organoid: list(own) for organoid, own in groupby(entries, key=lambda entry: entry.key.organoid)}
    return render_template(
        "lake_report.html",
        verdict=report.verdict,
        written_at=datetime.now(UTC),
        quarantined=report.reasons,
        warnings=_warnings(entries),
        refused=raw.refused,
        waiting=list(map(str, raw.found)),
        n_without_report=sum(entry.standing is RecordingStatus.OK and entry.report is None for entry in entries),
        most_reasons=MOST_REASONS,
        organoids=[_organoid(name, own) for name, own in by_organoid.items()],
        figures=template_figures(report.figures),
        splits=_splits(entries, splits),
        left_out=manifest.excluded if manifest else {},
        measures=QUALITY_MEASURES,
        recordings={
            name: [_recording(entry, splits.get(entry.key, UNKNOWN)) for entry in own]
            for name, own in by_organoid.items()
        },
        n_recordings=len(entries),
    )


def _warnings(entries: Sequence[RecordingRecord]) -> list[dict[str, Any]]:
    """Return the warnings of usable recordings by check, the most frequent check first."""
    messages: dict[str, dict[str, str]] = {}
    for entry in entries:
        for failed in entry.doubts if entry.standing is RecordingStatus.WARN else ():
            messages.setdefault(failed.name, {})[str(entry.key)] = failed.message
    return [
        {"check": check, "expected": QUALITY_CHECKS.get(check, ""), "messages": of_check}
        for check, of_check in sorted(messages.items(), key=lambda item: -len(item[1]))
    ]


def _organoid(name: str, entries: Sequence[RecordingRecord]) -> dict[str, Any]:
    overviews = [entry.seen for entry in entries if entry.seen]
    layouts = Counter(f"{overview.n_channels:,} at {rate_text(overview.rate_hz)}" for overview in overviews)
    dates = sorted(overview.recorded_at.date() for overview in overviews)
    standings = Counter(entry.standing for entry in entries)
    return {
        "name": name,
        "recordings": len(entries),
        "usable": duration_text(fsum(map(_usable_s, entries))),
        "warned": standings[RecordingStatus.WARN],
        "quarantined": standings[RecordingStatus.QUARANTINED],
        "layouts": "; ".join(layout for layout, _ in layouts.most_common()) or UNKNOWN,
        "dates": " to ".join(dict.fromkeys(map(str, (dates[0], dates[-1])))) if dates else UNKNOWN,
    }


def _recording(entry: RecordingRecord, split: str) -> dict[str, Any]:
    failed = [check.name for check in entry.doubts]
    overview = entry.seen
    return {
        "name": entry.key.recording,
        "standing": entry.standing.value,
        "checks": ", ".join(failed) or (UNREADABLE if entry.reason else ""),
        "reason": entry.reason,
        "recorded_at": f"{overview.recorded_at:%Y-%m-%d %H:%M}" if overview else UNKNOWN,
        "is_stated": overview is None or overview.is_stated,
        "format": overview.format if overview else UNKNOWN,
        "channels": f"{overview.n_channels:,}" if overview else UNKNOWN,
        "rate": rate_text(overview.rate_hz) if overview else UNKNOWN,
        "duration": duration_text(overview.duration_s) if overview else UNKNOWN,
        "measures": [(measure.cell(entry), measure.check in failed) for measure in QUALITY_MEASURES],
        "split": split,
    }


def _split_names(entries: Sequence[RecordingRecord], manifest: SplitManifest | None) -> dict[RecordingKey, str]:
    """Return the role of each usable recording in the last split."""
    if manifest is None:
        return {}
    names = {recording.key: recording.role.value for recording in manifest.recordings}
    names |= dict.fromkeys(manifest.excluded, LEFT_OUT)
    used = (entry.key for entry in entries if entry.standing is not RecordingStatus.QUARANTINED)
    return {key: names.get(str(key), NOT_ASSIGNED) for key in used}


def _splits(entries: Sequence[RecordingRecord], splits: Mapping[RecordingKey, str]) -> list[dict[str, Any]]:
    usable_s = {entry.key: _usable_s(entry) for entry in entries}
    members = {name: [key for key in splits if splits[key] == name] for name in (*Role, LEFT_OUT, NOT_ASSIGNED)}
    return [
        {"name": name, "keys": list(map(str, keys)), "usable": duration_text(fsum(usable_s[key] for key in keys))}
        for name, keys in members.items()
        if keys
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
