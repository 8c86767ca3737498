"""Metadata for the asset pages: score tables, figures and links to MLflow's pages."""

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


_AUDIT_ROWS = 10


def score_metadata(evaluation: Evaluation) -> dict[str, Any]:
    """Return the verdict and the table of scores, with those of the baselines."""
    from voltpipe.reporting.score_tables import score_text
    from voltpipe.reporting.verdict import evaluation_verdict

    return {"verdict": evaluation_verdict(evaluation), "scores": dg.MetadataValue.md(score_text(evaluation))}


def report_link(tracking: "TrackingResource", mlflow_run_id: str) -> str:
    """Return the address of a training's report in MLflow."""
    from voltpipe.evaluation.results import REPORT_FILE
    from voltpipe.tracking.tracked_run import REPORT_FOLDER

    return tracking.artifact_link(mlflow_run_id, f"{REPORT_FOLDER}/{REPORT_FILE}")


def report_metadata(tracking: "TrackingResource", mlflow_run_id: str, path: Path) -> dict[str, Any]:
    """Return a link to the report in MLflow, and the path of its file."""
    return {
        "report": dg.MetadataValue.url(report_link(tracking, mlflow_run_id)),
        "report file": dg.MetadataValue.path(path),
    }


def promotion_metadata(decision: PromotionDecision) -> dict[str, Any]:
    """Return the decision, its reason, and the comparison with the champion on all recordings and on each group."""
    if decision.comparison is None:
        return {"decision": decision.decision, "reason": decision.reason}
    overall, groups = decision.comparison.whole, decision.comparison.groups
    rows = [
        "| group | R2 | champion's R2 | gain | lower bound | upper bound | recordings |",
        "| --- |" + " ---: |" * 6,
    ]
    for group in (overall, *groups):
        bounds = ("" if bound is None else f"{bound:+.4f}" for bound in (group.paired.lower, group.paired.upper))
        cells = (f"{group.r2:.4f}", f"{group.other_r2:.4f}", f"{group.paired.gain:+.4f}", *bounds)
        rows.append(f"| {group.group} | {' | '.join(cells)} | {group.paired.n_recordings} |")
    return {
        "decision": decision.decision,
        "reason": decision.reason,
        "compared with version": str(decision.against),
        "comparison": dg.MetadataValue.md("\n".join(rows)),
        # Plain numbers, so that Dagster plots them over successive decisions.
        "r2": overall.r2,
        "r2 of the champion before": overall.other_r2,
        "gain": overall.paired.gain,
    }


def audit_metadata(audit_log: AuditLog) -> dg.MarkdownMetadataValue:
    """Return the latest entries of the audit log as a table, newest first."""
    rows = ["| time (UTC) | version | action | champion | by | reason |", "|" + " --- |" * 6]
    for entry in reversed(audit_log.entries()[-_AUDIT_ROWS:]):
        champion = (
            f"{entry.champion_before or 'none'} -> {entry.champion_after}" if entry.moves else entry.champion_after
        )
        cells = (f"{entry.at_utc:%Y-%m-%d %H:%M}", entry.version, entry.action, champion, entry.who, entry.why)
        rows.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
    return dg.MetadataValue.md("\n".join(rows))


def connectivity_metadata(table: "pd.DataFrame", forecaster: str) -> dict[str, Any]:
    """Return the estimated connectivity: number of connections, agreement with the truth, and the strongest ones."""
    from voltpipe.reporting.connectivity_text import connectivity_text

    return {"who drives whom": dg.MetadataValue.md(connectivity_text(table, forecaster))}


def figure_metadata(figure_paths: Mapping[str, Path]) -> dict[str, Any]:
    """Embed PNG files in Markdown, which is how Dagster shows pictures."""
    return {name: picture_metadata(name, path.read_bytes()) for name, path in figure_paths.items()}


def rendered_figure_metadata(figures: "Mapping[str, RenderedFigure]") -> dict[str, Any]:
    """Embed rendered figures, which are not in files, in Markdown."""
    return {name: picture_metadata(name, figure.png) for name, figure in figures.items()}


def picture_metadata(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """Embed a PNG in Markdown."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
