"""The evaluation report: one page that needs nothing else, and its figures as files."""

import json
from collections.abc import Callable, Mapping, Sequence
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
from voltpipe.evaluation.evaluation import REPORT_FILE, Evaluation
from voltpipe.evaluation.figures import figures
from voltpipe.evaluation.gain_over import gain_over
from voltpipe.evaluation.interactive import embedded
from voltpipe.evaluation.interpretation.figures import interpretation_figures
from voltpipe.evaluation.interpretation.interpretation import Interpretation
from voltpipe.evaluation.interpretation.section import interpretation_section
from voltpipe.evaluation.isolation import attempt_each
from voltpipe.evaluation.labels import PUBLISHED_WARNING, duration_label, forecaster_label, regime_label
from voltpipe.evaluation.page import filled, finding, on_page, provenance_text
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.skill_bar import skill_bars
from voltpipe.evaluation.tables import score_table
from voltpipe.evaluation.verdict import verdict
from voltpipe.files import written_whole
from voltpipe.windows.settings import Protocol


@dataclass(frozen=True)
class Report:
    """Places of the parts of a report, and what could not be drawn."""

    html_path: Path
    figure_paths: dict[str, Path]
    """PNG files by the figure's name."""
    undrawn: dict[str, str]
    """Why figures could not be drawn, by the figure's name."""


def write_report(
    folder: Path,
    evaluation: Evaluation,
    detail: EvaluationDetail | None,
    connectivity: pd.DataFrame,
    diagnosis: Diagnosis | None = None,
    interpretation: Interpretation | None = None,
    failed: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> Report:
    """Write `report.html` and a PNG a figure into `folder`, each as an atomic write.

    What failed is shown as such in its section, and so is a figure that cannot be drawn.

    Args:
        folder: of the evaluation.
        evaluation: the scores.
        detail: what figures show of them; None if that could not be made.
        connectivity: who drives whom.
        diagnosis: without one the page has no such sections.
        interpretation: without one the page has no such section.
        failed: why other parts could not be made, by name.
        links: addresses by name, for the section on provenance.
    """
    parts = (evaluation, detail, connectivity, diagnosis, interpretation)
    general, drawn, undrawn = _draw_all(*parts)
    paths = {name: folder / f"{name}.png" for name in drawn}
    for name, path in paths.items():
        with written_whole(path) as aside:
            aside.write_bytes(drawn[name].png)
    html_path = folder / REPORT_FILE
    with written_whole(html_path) as aside:
        page = render_page(
            evaluation, drawn, general, connectivity, diagnosis, interpretation, links, failed=failed, undrawn=undrawn
        )
        aside.write_text(page, encoding="utf-8")
    return Report(html_path, paths, undrawn)


def _draw_all(
    evaluation: Evaluation,
    detail: EvaluationDetail | None,
    connectivity: pd.DataFrame,
    diagnosis: Diagnosis | None,
    interpretation: Interpretation | None,
) -> tuple[tuple[str, ...], dict[str, RenderedFigure], dict[str, str]]:
    """Draw all figures apart from each other; returns the names of the general ones, those drawn and those not."""
    general = figures(evaluation, detail) if detail else {}
    others: dict[str, Callable[[], RenderedFigure]] = {}
    if diagnosis:
        others |= diagnosis_figures(evaluation, diagnosis)
    if interpretation:
        others |= interpretation_figures(evaluation, interpretation)
    if len(connectivity):
        others[CONNECTIVITY] = lambda: connectivity_figure(connectivity)
    return tuple(general), *attempt_each({**general, **others})


def render_page(
    evaluation: Evaluation,
    drawn: dict[str, RenderedFigure],
    general: Sequence[str],
    connectivity: pd.DataFrame,
    diagnosis: Diagnosis | None,
    interpretation: Interpretation | None = None,
    links: Mapping[str, str] | None = None,
    *,
    failed: Mapping[str, str] | None = None,
    undrawn: Mapping[str, str] | None = None,
) -> str:
    """Return the page as HTML; `general` names the figures that belong to no other section."""
    protocol, rate_hz = evaluation.provenance.protocol, evaluation.provenance.rate_hz
    all_failed = {
        **(failed or {}),
        **(diagnosis.failed if diagnosis else {}),
        **(interpretation.failed if interpretation else {}),
    }
    explorers, no_explorers = attempt_each(
        diagnosis_explorers(diagnosis, evaluation.forecaster, rate_hz) if diagnosis else {}
    )
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
        failed=all_failed,
        undrawn={**(undrawn or {}), **no_explorers},
        connectivity=_connectivity_section(evaluation, connectivity, all_failed),
        diagnosis=_diagnosis_section(evaluation, diagnosis) if diagnosis else None,
        interpretation=interpretation_section(evaluation, interpretation, connectivity) if interpretation else None,
        explorers=embedded(explorers),
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


def _connectivity_section(evaluation: Evaluation, table: pd.DataFrame, failed: Mapping[str, str]) -> dict[str, object]:
    found = summaries(table)
    agreement = mean_agreement(found)
    return {
        "verdict": finding(failed, CONNECTIVITY, lambda: connectivity_verdict(found, evaluation.forecaster)),
        "organoids": found,
        "comparison": comparison_table(agreement) if agreement else None,
        "strongest": strongest_table(table),
    }


def _diagnosis_section(evaluation: Evaluation, diagnosis: Diagnosis) -> dict[str, object]:
    about = diagnosis, evaluation.forecaster, evaluation.provenance.rate_hz
    texts: dict[str, tuple[str, Callable[[], str]]] = {
        "worst_group": ("errors_by_group", lambda: worst_group_text(*about)),
        "calibration": ("errors_by_group", lambda: calibration_text(*about)),
        "out_of_distribution": ("out_of_distribution", lambda: out_of_distribution_text(diagnosis.out_of_distribution)),
        "robustness": ("robustness", lambda: robustness_text(diagnosis, evaluation.forecaster)),
        "bad_channels": ("bad_channels", lambda: bad_channels_text(diagnosis.bad_channels)),
        "resemblance": ("resemblance", lambda: resemblance_text(diagnosis)),
        "following": ("following", lambda: following_text(diagnosis.following)),
        "honesty_text": ("honesty", lambda: honesty_text(diagnosis)),
    }
    return {
        **{name: finding(diagnosis.failed, part, text) for name, (part, text) in texts.items()},
        "measures": list(diagnosis.resemblance.itertuples()),
        "honesty": diagnosis.honesty,
    }
