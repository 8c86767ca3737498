"""The page of the whole lake: which recordings there are, how good they are, and what each is used for."""

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
from voltpipe.recordings.quality.assess_quality import CHECKS
from voltpipe.recordings.raw.catalogue import RecordingRecord, RecordingStatus, catalogue
from voltpipe.recordings.raw.raw_folder import RawListing, list_raw
from voltpipe.reporting.figures.figure_style import RenderedFigure
from voltpipe.reporting.figures.lake_figures import MEASURES, UNKNOWN, duration_text, lake_figures, rate_text
from voltpipe.reporting.page import render_template, template_figures
from voltpipe.windows.split_manifest import SplitManifest
from voltpipe.windows.splits import Role

MOST_REASONS = 100
"""How many reasons of one kind are listed; the table of all recordings has every one's verdict."""

LEFT_OUT, NOT_IN_IT = "left out", "not in it"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class LakeReport:
    """The page, and what of it is shown elsewhere."""

    path: Path
    verdict: str
    counts: dict[str, int | float]
    reasons: dict[str, str]
    """Why recordings cannot be used, by key."""
    figures: dict[str, RenderedFigure]


def write_lake_report(lake: Lake) -> LakeReport:
    """Write `reports/lake.html`, whole or not at all, from what was noted of each recording when it was judged."""
    entries = catalogue(lake)
    raw = list_raw(lake, known=[entry.key for entry in entries])
    report = LakeReport(
        path=lake.page,
        verdict=lake_verdict(entries),
        counts=_counts(entries),
        reasons={str(each.key): each.reason for each in entries if each.standing is RecordingStatus.QUARANTINED},
        figures=lake_figures(entries),
    )
    with atomic_write(report.path) as aside:
        aside.write_text(_page(report, entries, raw, SplitManifest.load(lake.windows)), encoding="utf-8")
    return report


def lake_verdict(entries: Sequence[RecordingRecord]) -> str:
    """How many recordings of how many organoids there are, and how many need a look, in a sentence or two."""
    if not entries:
        return "No recording was judged yet."
    counts = _counts(entries)
    of_organoids = f"of {_counted(int(counts['organoids']), 'organoid')}"
    said = f"{_counted(len(entries), 'recording')} {of_organoids}, {duration_text(3600 * counts['hours'])} usable."
    warned, quarantined = counts[RecordingStatus.WARN.value], counts[RecordingStatus.QUARANTINED.value]
    if not warned and not quarantined:
        return f"{said} None of them needs a look."
    kept = f"{quarantined:,} cannot be used" if quarantined else "All can be used"
    return f"{said} {kept}, {warned:,} should be looked at." if warned else f"{said} {kept}."


def _counts(entries: Sequence[RecordingRecord]) -> dict[str, int | float]:
    standings = Counter(entry.standing for entry in entries)
    return {
        "recordings": len(entries),
        "organoids": len({entry.key.organoid for entry in entries}),
        "hours": sum(map(_usable_s, entries)) / 3600,
        **{standing.value: standings[standing] for standing in RecordingStatus},
    }


def _usable_s(entry: RecordingRecord) -> float:
    """What is left after trimming and blanking."""
    return entry.figure("duration", "kept_s") or 0.0 if entry.standing is not RecordingStatus.QUARANTINED else 0.0


def _page(
    report: LakeReport, entries: Sequence[RecordingRecord], raw: RawListing, manifest: SplitManifest | None
) -> str:
    splits = _split_names(entries, manifest)
    by_organoid = {organoid: list(some) for organoid, some in groupby(entries, key=lambda entry: entry.key.organoid)}
    return render_template(
        "lake_report.html",
        verdict=report.verdict,
        written_at=datetime.now(UTC),
        quarantined=report.reasons,
        doubted=_doubted(entries),
        refused=raw.refused,
        waiting=list(map(str, raw.found)),
        without_findings=[
            str(each.key) for each in entries if each.standing is RecordingStatus.OK and each.report is None
        ],
        most_reasons=MOST_REASONS,
        organoids=[_organoid(name, some) for name, some in by_organoid.items()],
        figures=template_figures(report.figures),
        splits=_splits(entries, splits),
        left_out=manifest.excluded if manifest else {},
        measures=MEASURES,
        recordings={
            name: [_recording(each, splits.get(each.key, UNKNOWN)) for each in some]
            for name, some in by_organoid.items()
        },
        n_recordings=len(entries),
    )


def _doubted(entries: Sequence[RecordingRecord]) -> list[dict[str, Any]]:
    """What recordings that are used were warned of, check by check, the most frequent first."""
    messages: dict[str, dict[str, str]] = {}
    for entry in entries:
        for doubt in entry.doubts if entry.standing is RecordingStatus.WARN else ():
            messages.setdefault(doubt.name, {})[str(entry.key)] = doubt.message
    return [
        {"check": check, "meaning": CHECKS.get(check, ""), "messages": some}
        for check, some in sorted(messages.items(), key=lambda item: -len(item[1]))
    ]


def _organoid(name: str, entries: Sequence[RecordingRecord]) -> dict[str, Any]:
    seen = [entry.seen for entry in entries if entry.seen]
    layouts = Counter(f"{glance.n_channels:,} at {rate_text(glance.rate_hz)}" for glance in seen)
    dates = sorted(glance.recorded_at.date() for glance in seen)
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
    odd = {doubt.name for doubt in entry.doubts}
    seen = entry.seen
    return {
        "name": entry.key.recording,
        "standing": entry.standing.value,
        "checks": ", ".join(doubt.name for doubt in entry.doubts) or (UNREADABLE if entry.reason else ""),
        "reason": entry.reason,
        "recorded_at": f"{seen.recorded_at:%Y-%m-%d %H:%M}" if seen else UNKNOWN,
        "is_stated": seen is None or seen.is_stated,
        "format": seen.format if seen else UNKNOWN,
        "channels": f"{seen.n_channels:,}" if seen else UNKNOWN,
        "rate": rate_text(seen.rate_hz) if seen else UNKNOWN,
        "duration": duration_text(seen.duration_s) if seen else UNKNOWN,
        "measures": [(measure.cell(entry), measure.check in odd) for measure in MEASURES],
        "split": split,
    }


def _split_names(entries: Sequence[RecordingRecord], manifest: SplitManifest | None) -> dict[RecordingKey, str]:
    """What each recording that is used was to the last split."""
    if manifest is None:
        return {}
    names = {recording.key: recording.role.value for recording in manifest.recordings}
    names |= dict.fromkeys(manifest.excluded, LEFT_OUT)
    used = (entry.key for entry in entries if entry.standing is not RecordingStatus.QUARANTINED)
    return {key: names.get(str(key), NOT_IN_IT) for key in used}


def _splits(entries: Sequence[RecordingRecord], splits: Mapping[RecordingKey, str]) -> list[dict[str, Any]]:
    usable_s = {entry.key: _usable_s(entry) for entry in entries}
    members = {name: [key for key in splits if splits[key] == name] for name in (*Role, LEFT_OUT, NOT_IN_IT)}
    return [
        {"name": name, "keys": list(map(str, keys)), "usable": duration_text(fsum(usable_s[key] for key in keys))}
        for name, keys in members.items()
        if keys
    ]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
