"""The evaluation report: one page that needs nothing else, its numbers, and its figures as files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from voltpipe.evaluation.connectivity_figure import CONNECTIVITY, connectivity_figure
from voltpipe.evaluation.connectivity_summary import mean_agreement, summaries
from voltpipe.evaluation.connectivity_text import comparison_table, connectivity_verdict, strongest_table
from voltpipe.evaluation.detail import EvaluationDetail
from voltpipe.evaluation.diagnosis.diagnosis import LOOK_UP, Diagnosis
from voltpipe.evaluation.diagnosis.explorers import diagnosis_explorers
from voltpipe.evaluation.diagnosis.figures import diagnosis_figures
from voltpipe.evaluation.diagnosis.text import (
    bad_channels_text,
    calibration_text,
    following_text,
    honesty_text,
    out_of_distribution_text,
    resemblance_text,
    robustness_text,
    worst_group_text,
)
from voltpipe.evaluation.distribution_table import distribution_table
from voltpipe.evaluation.drawing import RenderedFigure
from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.figures import figures
from voltpipe.evaluation.gain_over import gain_over
from voltpipe.evaluation.interactive import embedded
from voltpipe.evaluation.interpretation.figures import interpretation_figures
from voltpipe.evaluation.interpretation.interpretation import Interpretation
from voltpipe.evaluation.interpretation.section import interpretation_section
from voltpipe.evaluation.labels import PUBLISHED_WARNING, duration_label, forecaster_label, regime_label
from voltpipe.evaluation.page import filled, on_page, provenance_text
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.skill_bar import skill_bars
from voltpipe.evaluation.tables import score_table
from voltpipe.evaluation.verdict import verdict
from voltpipe.files import written_whole
from voltpipe.windows.settings import Protocol

REPORT_FILE = "report.html"
METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Report:
    """Where the parts of a report lie."""

    html_path: Path
    metrics_path: Path
    figure_paths: dict[str, Path]
    """PNG files by the figure's name."""


def write_report(
    folder: Path,
    evaluation: Evaluation,
    detail: EvaluationDetail,
    connectivity: pd.DataFrame,
    diagnosis: Diagnosis | None = None,
    interpretation: Interpretation | None = None,
    links: Mapping[str, str] | None = None,
) -> Report:
    """Write `report.html`, `metrics.json` and a PNG a figure into `folder`, each whole or not at all.

    Without a diagnosis or an interpretation the page has no such sections. `links` are addresses named among where it
    comes from, by name.
    """
    drawn = figures(evaluation, detail)
    general = tuple(drawn)
    if diagnosis:
        drawn |= diagnosis_figures(evaluation, diagnosis)
    if interpretation:
        drawn |= interpretation_figures(evaluation, interpretation)
    if len(connectivity):
        drawn[CONNECTIVITY] = connectivity_figure(connectivity)
    report = Report(folder / REPORT_FILE, folder / METRICS_FILE, {name: folder / f"{name}.png" for name in drawn})
    for name, path in report.figure_paths.items():
        with written_whole(path) as aside:
            aside.write_bytes(drawn[name].png)
    evaluation.write(report.metrics_path)
    with written_whole(report.html_path) as aside:
        page = render_page(evaluation, drawn, general, connectivity, diagnosis, interpretation, links)
        aside.write_text(page, encoding="utf-8")
    return report


def render_page(
    evaluation: Evaluation,
    drawn: dict[str, RenderedFigure],
    general: Sequence[str],
    connectivity: pd.DataFrame,
    diagnosis: Diagnosis | None,
    interpretation: Interpretation | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The page as HTML; `general` names the figures that belong to no other section."""
    protocol = evaluation.provenance.protocol
    return filled(
        REPORT_FILE,
        title=f"{forecaster_label(evaluation.forecaster)} on {', '.join(evaluation.provenance.organoids)}",
        verdict=verdict(evaluation),
        warning=PUBLISHED_WARNING if protocol == Protocol.PUBLISHED else None,
        forecaster=forecaster_label(evaluation.forecaster),
        headline_regime=regime_label(evaluation.regimes[0], protocol),
        bars=list(skill_bars(evaluation, evaluation.regimes[0])),
        regimes=[_regime_section(evaluation, regime) for regime in evaluation.regimes],
        has_ceiling=bool(evaluation.ceiling_r2),
        connectivity=_connectivity_section(evaluation, connectivity),
        diagnosis=_diagnosis_section(evaluation, diagnosis) if diagnosis else None,
        interpretation=interpretation_section(evaluation, interpretation, connectivity) if interpretation else None,
        explorers=embedded(
            diagnosis_explorers(diagnosis, evaluation.forecaster, evaluation.provenance.rate_hz) if diagnosis else {}
        ),
        figures=on_page(drawn, provenance_text(evaluation.provenance)),
        general_figures=general,
        provenance=evaluation.provenance,
        links=links or {},
        settings={
            group: {name: json.dumps(value) for name, value in settings.items()}
            for group, settings in evaluation.provenance.settings.items()
        },
    )


def _regime_section(evaluation: Evaluation, regime: Regime) -> dict[str, object]:
    scores = [evaluation.score(evaluation.forecaster, regime, horizon) for horizon in evaluation.horizons]
    return {
        "label": regime_label(regime, evaluation.provenance.protocol),
        "n_recordings": len(evaluation.provenance.recordings[regime]),
        "n_targets": scores[0].n_targets,
        "r2": score_table(evaluation, regime),
        "distribution": distribution_table(evaluation, regime),
        "errors": [(duration_label(s.horizon, evaluation.provenance.rate_hz), s) for s in scores],
        "gains": [gain_over(evaluation, LOOK_UP, regime, s.horizon) for s in scores],
    }


def _connectivity_section(evaluation: Evaluation, table: pd.DataFrame) -> dict[str, object]:
    found = summaries(table)
    agreement = mean_agreement(found)
    return {
        "figure": CONNECTIVITY,
        "verdict": connectivity_verdict(found, evaluation.forecaster),
        "organoids": found,
        "comparison": comparison_table(agreement) if agreement else None,
        "strongest": strongest_table(table),
    }


def _diagnosis_section(evaluation: Evaluation, diagnosis: Diagnosis) -> dict[str, object]:
    return {
        "calibration": calibration_text(diagnosis, evaluation.forecaster, evaluation.provenance.rate_hz),
        "worst_group": worst_group_text(diagnosis, evaluation.forecaster, evaluation.provenance.rate_hz),
        "out_of_distribution": out_of_distribution_text(diagnosis.out_of_distribution),
        "robustness": robustness_text(diagnosis, evaluation.forecaster),
        "bad_channels": bad_channels_text(diagnosis.bad_channels),
        "resemblance": resemblance_text(diagnosis),
        "following": following_text(diagnosis.following),
        "measures": list(diagnosis.resemblance.itertuples()),
        "honesty": diagnosis.honesty,
        "honesty_text": honesty_text(diagnosis),
    }
