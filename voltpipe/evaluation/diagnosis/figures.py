"""Figures of a diagnosis: what faults cost, and how imagined activity resembles the recorded."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from voltpipe.evaluation.diagnosis.diagnosis import Diagnosis
from voltpipe.evaluation.diagnosis.following_figure import FOLLOWING, following_figure
from voltpipe.evaluation.diagnosis.group_figure import ERRORS_BY_GROUP, group_figure
from voltpipe.evaluation.diagnosis.out_of_distribution_figure import OUT_OF_DISTRIBUTION, out_of_distribution_figure
from voltpipe.evaluation.diagnosis.resemblance import FACTOR
from voltpipe.evaluation.diagnosis.robustness import breaking_levels
from voltpipe.evaluation.drawing import (
    BASELINES,
    FAINT,
    FORECASTER,
    INK,
    Drawings,
    RenderedFigure,
    new_figure,
    render,
)
from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.labels import duration_label, forecaster_label, regime_label

ROBUSTNESS, RESEMBLANCE = "robustness", "resemblance"
_LOWEST_R2 = -0.5
_FURTHEST = 100.0
"""Times the distance between recordings; what these have none of lies there."""


def diagnosis_figures(evaluation: Evaluation, diagnosis: Diagnosis) -> Drawings:
    """List the figures of all diagnostics that have something to show."""
    name, provenance = evaluation.forecaster, evaluation.provenance
    rate_hz = provenance.rate_hz
    subtitle = f"{forecaster_label(name)} on {regime_label(evaluation.regimes[0], provenance.protocol)}"
    of_table: dict[str, Callable[[pd.DataFrame], RenderedFigure]] = {
        ERRORS_BY_GROUP: partial(group_figure, forecaster=name, rate_hz=rate_hz, subtitle=subtitle),
        ROBUSTNESS: partial(robustness_figure, forecaster=name, rate_hz=rate_hz, subtitle=subtitle),
        OUT_OF_DISTRIBUTION: partial(out_of_distribution_figure, subtitle=subtitle),
        RESEMBLANCE: partial(resemblance_figure, subtitle=subtitle),
        FOLLOWING: partial(following_figure, subtitle=subtitle),
    }
    tables = {figure: getattr(diagnosis, figure) for figure in of_table}
    return {figure: partial(draw, tables[figure]) for figure, draw in of_table.items() if len(tables[figure])}


def robustness_figure(table: pd.DataFrame, forecaster: str, *, rate_hz: float, subtitle: str) -> RenderedFigure:
    """R2 by kind and level of fault, at the shortest horizon."""
    horizon = int(table["horizon"].min())
    return render(
        ROBUSTNESS,
        lambda: draw_robustness(table[table["horizon"] == horizon], forecaster, horizon),
        title=f"What faults cost, {duration_label(horizon, rate_hz)} ahead",
        subtitle=subtitle,
        caption="R² from clean (left) to broken (right), when what the forecaster is shown is faulty and the truth is "
        "not. A vertical line marks the first level at which a baseline is ahead. Curves that leave below are worse "
        "than the mean.",
        basis=f"R² · {int(table['n_targets'].max()):,} targets at each level",
    )


def draw_robustness(table: pd.DataFrame, forecaster: str, horizon: int) -> Figure:
    """A panel a fault."""
    broken = breaking_levels(table, forecaster, horizon)
    units = table.groupby("corruption", sort=False)["unit"].first()
    n_columns = 3
    n_rows = -(-len(units) // n_columns)
    figure = new_figure(1.35 * n_rows)
    panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
    for axes, (corruption, unit) in zip(panels, units.items(), strict=False):
        r2 = table[table["corruption"] == corruption].pivot(index="level", columns="forecaster", values="r2")
        for name in sorted(r2, key=lambda name: name == forecaster):
            colour = FORECASTER if name == forecaster else BASELINES.get(str(name), FAINT)
            axes.plot(np.arange(len(r2)), r2[name], "o-", color=colour, markersize=3, label=forecaster_label(str(name)))
        level = broken[str(corruption)]
        if level is not None:
            axes.axvline(list(r2.index).index(level), color=FAINT, linewidth=0.8, linestyle=":")
        axes.axhline(0, color=FAINT, linewidth=0.5)
        axes.set_xticks(np.arange(len(r2)), [f"{level:g}" for level in r2.index], fontsize=6)
        axes.set_title(str(corruption), fontsize=8)
        axes.set_xlabel(str(unit), fontsize=7, color=INK, labelpad=1)
    for axes in panels[len(units) :]:
        axes.set_visible(False)
    panels[0].set_ylim(max(_LOWEST_R2, float(table["r2"].min()) - 0.05), min(1.0, float(table["r2"].max()) + 0.1))
    for axes in panels[::n_columns]:
        axes.set_ylabel("R²")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def resemblance_figure(table: pd.DataFrame, *, subtitle: str) -> RenderedFigure:
    """How far imagined activity is from recordings, measure by measure."""
    return render(
        RESEMBLANCE,
        lambda: draw_resemblance(table),
        title="Does what it imagines behave like the tissue?",
        subtitle=subtitle,
        caption="The forecaster ran free: each sample was drawn from its own distribution and fed back. A dot is how "
        "far that activity lies from recordings, in units of how far recordings lie from each other: at 1 it might be "
        "another recording, right of the dotted line it is told from one.",
        basis="ratio of distances",
    )


def draw_resemblance(table: pd.DataFrame) -> Figure:
    """A line a measure."""
    ratio = (table["distance"] / table["noise_floor"]).clip(upper=_FURTHEST).to_numpy()
    figure = new_figure(0.5 + 0.22 * len(table))
    axes = figure.subplots()
    rows = np.arange(len(table))
    axes.axvline(1, color=FAINT, linewidth=0.8)
    axes.axvline(FACTOR, color=FAINT, linewidth=0.8, linestyle=":")
    axes.hlines(rows, 1, ratio, color=FAINT, linewidth=0.8)
    for row, resembles in enumerate(table["resembles"]):
        axes.plot(ratio[row], row, "o", color=BASELINES["autoregression"] if resembles else FORECASTER)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if tick <= max(2 * float(ratio.max()), 5)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(rows, table["measure"])
    axes.tick_params(axis="y", left=False)
    axes.spines["left"].set_visible(False)
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="distance from recordings / distance between recordings")
    return figure
