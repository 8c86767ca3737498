"""What the asset pages show: scores as a table, plots as small pictures."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.tracking.gate import GateDecision
from voltpipe.tracking.trail import Trail

if TYPE_CHECKING:
    import pandas as pd

    from voltpipe.evaluation.drawing import RenderedFigure

_TRAIL_ROWS = 10


def score_metadata(evaluation: Evaluation) -> dict[str, Any]:
    """What the scores say, and the table beside the baselines."""
    from voltpipe.evaluation.tables import score_text
    from voltpipe.evaluation.verdict import verdict

    return {"verdict": verdict(evaluation), "scores": dg.MetadataValue.md(score_text(evaluation))}


def gate_metadata(decision: GateDecision) -> dict[str, Any]:
    """Why, and the candidate beside the champion on all that decides and on each group of it."""
    if decision.comparison is None:
        return {"decision": decision.decision, "reason": decision.reason}
    whole, groups = decision.comparison.whole, decision.comparison.groups
    rows = ["| | R2 | champion | gain | at least | at most | recordings |", "| --- |" + " ---: |" * 6]
    for each in (whole, *groups):
        bounds = ("" if bound is None else f"{bound:+.4f}" for bound in (each.paired.lower, each.paired.upper))
        figures = (f"{each.r2:.4f}", f"{each.other_r2:.4f}", f"{each.paired.gain:+.4f}", *bounds)
        rows.append(f"| {each.group} | {' | '.join(figures)} | {each.paired.n_recordings} |")
    return {
        "decision": decision.decision,
        "reason": decision.reason,
        "against version": str(decision.against),
        "comparison": dg.MetadataValue.md("\n".join(rows)),
        # Numbers as such: Dagster plots them from one decision to the next.
        "r2": whole.r2,
        "r2 of the champion before": whole.other_r2,
        "gain": whole.paired.gain,
    }


def trail_metadata(trail: Trail) -> dg.MarkdownMetadataValue:
    """The audit trail's latest lines."""
    rows = ["| when (UTC) | version | | champion | by | why |", "|" + " --- |" * 6]
    for entry in reversed(trail.entries()[-_TRAIL_ROWS:]):
        moved = f"{entry.champion_before or 'none'} -> {entry.champion_after}" if entry.moves else entry.champion_after
        cells = (f"{entry.at_utc:%Y-%m-%d %H:%M}", entry.version, entry.action, moved, entry.who, entry.why)
        rows.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return dg.MetadataValue.md("\n".join(rows))


def connectivity_metadata(table: "pd.DataFrame", forecaster: str) -> dict[str, Any]:
    """How much was found of who drives whom, how right it is, and the strongest connections."""
    from voltpipe.evaluation.connectivity_text import connectivity_text

    return {"who drives whom": dg.MetadataValue.md(connectivity_text(table, forecaster))}


def figure_metadata(figure_paths: Mapping[str, Path]) -> dict[str, Any]:
    """Each PNG as a picture inside Markdown, which is how Dagster shows pictures."""
    return {name: picture_metadata(name, path.read_bytes()) for name, path in figure_paths.items()}


def rendered_metadata(figures: "Mapping[str, RenderedFigure]") -> dict[str, Any]:
    """The same for figures that are not in files."""
    return {name: picture_metadata(name, figure.png) for name, figure in figures.items()}


def picture_metadata(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """One such picture."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
