"""Metadata on the asset pages: scores as a table, figures as small pictures, links to MLflow's pages."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from voltpipe.evaluation.results import Evaluation
from voltpipe.tracking.audit_log import AuditLog
from voltpipe.tracking.promotion_rules import PromotionDecision

if TYPE_CHECKING:
    import pandas as pd

    from voltpipe.pipeline.resources import TrackingResource
    from voltpipe.reporting.figures.figure_style import RenderedFigure


_TRAIL_ROWS = 10


def score_metadata(evaluation: Evaluation) -> dict[str, Any]:
    """The verdict, and the table of scores next to those of the baselines."""
    from voltpipe.reporting.score_tables import score_text
    from voltpipe.reporting.verdict import evaluation_verdict

    return {"verdict": evaluation_verdict(evaluation), "scores": dg.MetadataValue.md(score_text(evaluation))}


def report_link(tracking: "TrackingResource", mlflow_run_id: str) -> str:
    """Return the address at which MLflow shows the report of a training in a browser."""
    from voltpipe.evaluation.results import REPORT_FILE
    from voltpipe.tracking.tracked_run import REPORT_FOLDER

    return tracking.artifact_link(mlflow_run_id, f"{REPORT_FOLDER}/{REPORT_FILE}")


def report_metadata(tracking: "TrackingResource", mlflow_run_id: str, path: Path) -> dict[str, Any]:
    """Link to the report in a browser, and its file."""
    return {
        "report": dg.MetadataValue.url(report_link(tracking, mlflow_run_id)),
        "report file": dg.MetadataValue.path(path),
    }


def promotion_metadata(decision: PromotionDecision) -> dict[str, Any]:
    """The decision, its reasons, and candidate and champion compared on all recordings and on each group of them."""
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


def audit_metadata(trail: AuditLog) -> dg.MarkdownMetadataValue:
    """The latest lines of the audit log."""
    rows = ["| when (UTC) | version | | champion | by | why |", "|" + " --- |" * 6]
    for entry in reversed(trail.entries()[-_TRAIL_ROWS:]):
        moved = f"{entry.champion_before or 'none'} -> {entry.champion_after}" if entry.moves else entry.champion_after
        cells = (f"{entry.at_utc:%Y-%m-%d %H:%M}", entry.version, entry.action, moved, entry.who, entry.why)
        rows.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return dg.MetadataValue.md("\n".join(rows))


def connectivity_metadata(table: "pd.DataFrame", forecaster: str) -> dict[str, Any]:
    """The estimated connectivity: how much was found, how right it is, and the strongest connections."""
    from voltpipe.reporting.connectivity_text import connectivity_text

    return {"who drives whom": dg.MetadataValue.md(connectivity_text(table, forecaster))}


def figure_metadata(figure_paths: Mapping[str, Path]) -> dict[str, Any]:
    """Show PNG files as pictures inside Markdown, which is how Dagster shows pictures."""
    return {name: picture_metadata(name, path.read_bytes()) for name, path in figure_paths.items()}


def rendered_figure_metadata(figures: "Mapping[str, RenderedFigure]") -> dict[str, Any]:
    """Show figures that are not in files as pictures inside Markdown."""
    return {name: picture_metadata(name, figure.png) for name, figure in figures.items()}


def picture_metadata(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """Show one PNG as a picture inside Markdown."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
