"""The evaluation report: one self-contained page, and its figures as PNG files."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from voltpipe.evaluation.connectivity_scores import mean_agreement, summarize_connectivity
from voltpipe.evaluation.diagnostics.diagnostics import LOOK_UP, Diagnostics
from voltpipe.evaluation.figure_data import FigureData
from voltpipe.evaluation.interpretation.interpretation import CONNECTIVITY, Interpretation
from voltpipe.evaluation.isolation import attempt_each
from voltpipe.evaluation.labels import PUBLISHED_WARNING, duration_label, forecaster_label, regime_label
from voltpipe.evaluation.paired_gain import gain_over_baseline
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import REPORT_FILE, Evaluation
from voltpipe.lake.files import atomic_write
from voltpipe.reporting.connectivity_text import comparison_table, connectivity_verdict, strongest_table
from voltpipe.reporting.diagnostics_text import (
    bad_channels_text,
    calibration_text,
    following_text,
    leakage_text,
    out_of_distribution_text,
    resemblance_text,
    robustness_text,
    worst_group_text,
)
from voltpipe.reporting.figures.connectivity_figure import connectivity_figure
from voltpipe.reporting.figures.diagnostics_figures import diagnostics_figures
from voltpipe.reporting.figures.evaluation_figures import figures
from voltpipe.reporting.figures.figure_style import RenderedFigure
from voltpipe.reporting.figures.interactive_figures import diagnostics_explorers, embed_figures
from voltpipe.reporting.figures.interpretation_figures import interpretation_figures
from voltpipe.reporting.interpretation_text import interpretation_section
from voltpipe.reporting.page import finding, provenance_text, render_template, template_figures
from voltpipe.reporting.score_tables import distribution_table, score_table
from voltpipe.reporting.verdict import evaluation_verdict
from voltpipe.windows.settings import Protocol


@dataclass(frozen=True)
class Report:
    """Paths of a report's files, and the figures that could not be drawn."""

    html_path: Path
    figure_paths: dict[str, Path]
    """PNG files by figure name."""
    undrawn: dict[str, str]
    """Reasons by figure name."""


def write_report(
    folder: Path,
    evaluation: Evaluation,
    detail: FigureData | None,
    connectivity: pd.DataFrame,
    diagnostics: Diagnostics | None = None,
    interpretation: Interpretation | None = None,
    failed: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> Report:
    """Write `report.html` and one PNG per figure into `folder`, each as an atomic write.

    A part that failed is reported in its section, and so is a figure that cannot be drawn.

    Args:
        folder: folder of the evaluation.
        evaluation: the scores.
        detail: data of the figures; None if they could not be computed.
        connectivity: table of estimated connections.
        diagnostics: the diagnostics; the page omits their sections if None.
        interpretation: the interpretation; the page omits its section if None.
        failed: reasons why other parts failed, by name.
        links: addresses by name, shown in the provenance section.
    """
    parts = (evaluation, detail, connectivity, diagnostics, interpretation)
    general, drawn, undrawn = _draw_all(*parts)
    paths = {name: folder / f"{name}.png" for name in drawn}
    for name, path in paths.items():
        with atomic_write(path) as temporary:
            temporary.write_bytes(drawn[name].png)
    html_path = folder / REPORT_FILE
    with atomic_write(html_path) as temporary:
        page = render_page(
            evaluation, drawn, general, connectivity, diagnostics, interpretation, links, failed=failed, undrawn=undrawn
        )
        temporary.write_text(page, encoding="utf-8")
    return Report(html_path, paths, undrawn)


def _draw_all(
    evaluation: Evaluation,
    detail: FigureData | None,
    connectivity: pd.DataFrame,
    diagnostics: Diagnostics | None,
    interpretation: Interpretation | None,
) -> tuple[tuple[str, ...], dict[str, RenderedFigure], dict[str, str]]:
    """Draw each figure in isolation; return the names of the general figures, the figures, and reasons of failures."""
    general = figures(evaluation, detail) if detail else {}
    others: dict[str, Callable[[], RenderedFigure]] = {}
    if diagnostics:
        others |= diagnostics_figures(evaluation, diagnostics)
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
    diagnostics: Diagnostics | None,
    interpretation: Interpretation | None = None,
    links: Mapping[str, str] | None = None,
    *,
    failed: Mapping[str, str] | None = None,
    undrawn: Mapping[str, str] | None = None,
) -> str:
    """Return the page as HTML; `general` names the figures of the section on forecasts."""
    protocol, rate_hz = evaluation.provenance.protocol, evaluation.provenance.rate_hz
    all_failed = {
        **(failed or {}),
        **(diagnostics.failed if diagnostics else {}),
        **(interpretation.failed if interpretation else {}),
    }
    explorers, no_explorers = attempt_each(
        diagnostics_explorers(diagnostics, evaluation.forecaster, rate_hz) if diagnostics else {}
    )
    return render_template(
        REPORT_FILE,
        title=f"{forecaster_label(evaluation.forecaster)} on {', '.join(evaluation.provenance.organoids)}",
        verdict=evaluation_verdict(evaluation),
        warning=PUBLISHED_WARNING if protocol == Protocol.PUBLISHED else None,
        forecaster=forecaster_label(evaluation.forecaster),
        headline_regime=regime_label(evaluation.regimes[0], protocol),
        bars=list(skill_bars(evaluation, evaluation.regimes[0])),
        regimes=[_regime_section(evaluation, regime) for regime in evaluation.regimes],
        has_ceiling=bool(evaluation.ceiling_r2),
        failed=all_failed,
        undrawn={**(undrawn or {}), **no_explorers},
        connectivity=_connectivity_section(evaluation, connectivity, all_failed),
        diagnostics=_diagnostics_section(evaluation, diagnostics) if diagnostics else None,
        interpretation=interpretation_section(evaluation, interpretation, connectivity) if interpretation else None,
        explorers=embed_figures(explorers),
        figures=template_figures(drawn, provenance_text(evaluation.provenance)),
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
        "gains": [gain_over_baseline(evaluation, LOOK_UP, regime, s.horizon) for s in scores],
    }


def _connectivity_section(evaluation: Evaluation, table: pd.DataFrame, failed: Mapping[str, str]) -> dict[str, object]:
    found = summarize_connectivity(table)
    agreement = mean_agreement(found)
    return {
        "verdict": finding(failed, CONNECTIVITY, lambda: connectivity_verdict(found, evaluation.forecaster)),
        "organoids": found,
        "comparison": comparison_table(agreement) if agreement else None,
        "strongest": strongest_table(table),
    }


def _diagnostics_section(evaluation: Evaluation, diagnostics: Diagnostics) -> dict[str, object]:
    inputs = diagnostics, evaluation.forecaster, evaluation.provenance.rate_hz
    texts: dict[str, tuple[str, Callable[[], str]]] = {
        "worst_group": ("errors_by_group", lambda: worst_group_text(*inputs)),
        "calibration": ("errors_by_group", lambda: calibration_text(*inputs)),
        "out_of_distribution": (
            "out_of_distribution",
            lambda: out_of_distribution_text(diagnostics.out_of_distribution),
        ),
        "robustness": ("robustness", lambda: robustness_text(diagnostics, evaluation.forecaster)),
        "bad_channels": ("bad_channels", lambda: bad_channels_text(diagnostics.bad_channels)),
        "resemblance": ("resemblance", lambda: resemblance_text(diagnostics)),
        "following": ("following", lambda: following_text(diagnostics.following)),
        "leakage_checks": ("honesty", lambda: leakage_text(diagnostics)),
    }
    return {
        **{name: finding(diagnostics.failed, part, text) for name, (part, text) in texts.items()},
        "measures": list(diagnostics.resemblance.itertuples()),
        "honesty": diagnostics.honesty,
    }


_START = "persistence"


@dataclass(frozen=True)
class SkillBar:
    """Bar of R2 at one horizon. Positions run from 0 (left end) to 1 (right end)."""

    horizon: str
    """Horizon as text, in ms."""
    start: str
    """Name of the left end: persistence, or the mean if persistence is worse."""
    start_r2: float
    stop: str
    """Name of the right end: the ceiling, or a perfect forecast if the ceiling is unknown."""
    stop_r2: float
    look_up_r2: float | None
    look_up_position: float | None
    forecaster_r2: float
    forecaster_position: float


def skill_bars(evaluation: Evaluation, regime: Regime) -> Iterator[SkillBar]:
    """Yield a bar for each horizon of the forecaster."""
    for horizon in evaluation.horizons:
        persistence = evaluation.find_score(_START, regime, horizon)
        look_up = evaluation.find_score(LOOK_UP, regime, horizon)
        ceiling = evaluation.ceiling_r2.get(horizon)
        start_r2 = max(persistence.r2 if persistence else 0.0, 0.0)
        stop_r2 = 1.0 if ceiling is None or ceiling <= start_r2 else ceiling
        own_r2 = evaluation.score(evaluation.forecaster, regime, horizon).r2
        yield SkillBar(
            horizon=duration_label(horizon, evaluation.provenance.rate_hz),
            start=_START if start_r2 > 0 else "mean",
            start_r2=start_r2,
            stop="perfect" if stop_r2 == 1 else "ceiling",
            stop_r2=stop_r2,
            look_up_r2=look_up.r2 if look_up else None,
            look_up_position=_position(look_up.r2, start_r2, stop_r2) if look_up else None,
            forecaster_r2=own_r2,
            forecaster_position=_position(own_r2, start_r2, stop_r2),
        )


def _position(r2: float, start_r2: float, stop_r2: float) -> float:
    """Return the position of an R2 on the bar, clipped to its ends."""
    return min(1.0, max(0.0, (r2 - start_r2) / (stop_r2 - start_r2)))
