"""Figures of a diagnosis: what faults cost, and how imagined activity resembles the recorded."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.evaluation.diagnostics.activity import FACTOR
from voltpipe.evaluation.diagnostics.corruptions import level_text
from voltpipe.evaluation.diagnostics.diagnostics import Diagnosis
from voltpipe.evaluation.diagnostics.novelty_detection import CLEAN
from voltpipe.evaluation.diagnostics.robustness import failure_levels
from voltpipe.evaluation.diagnostics.rollouts import DISTANCE, LEAD, SPIKES
from voltpipe.evaluation.labels import duration_label, forecaster_label, regime_label
from voltpipe.evaluation.results import Evaluation
from voltpipe.reporting.figures.figure_style import (
    BASELINES,
    FAINT,
    FORECASTER,
    GROUPS,
    INK,
    Drawings,
    RenderedFigure,
    new_figure,
    render,
)
from voltpipe.reporting.figures.group_error_figure import ERRORS_BY_GROUP, group_figure

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
    broken = failure_levels(table, forecaster, horizon)
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


FOLLOWING = "following"
_OWN, _SHUFFLED = "what followed", "another recording"


def following_figure(table: pd.DataFrame, *, subtitle: str) -> RenderedFigure:
    """Distance from the truth over time, and how many spikes are hit."""
    return render(
        FOLLOWING,
        lambda: draw_following(table),
        title="How long does a single run follow the truth?",
        subtitle=subtitle,
        caption="The forecaster ran free from moments of held-out recordings. Left: how far it is from what followed "
        "there, and for comparison from what followed in another recording; where the two lines meet (shaded: the 95% "
        "interval of when), it says no more of this recording than of any. Right, where spikes are seen: how well its "
        "spikes hit those recorded within 2 ms, over all time up to each moment; 1 is a copy.",
        basis=f"RMS difference in mV; F1 of spikes · {int(table['n_starts'].iloc[0])} starts, bands are 95% intervals "
        "over starts",
    )


def draw_following(table: pd.DataFrame) -> Figure:
    """A panel for the voltage, and one for spikes where there are any."""
    has_spikes = bool((table["measure"] == SPIKES).any())
    figure = new_figure(2.6)
    panels = np.atleast_1d(figure.subplots(1, 1 + has_spikes, width_ratios=(3, 2)[: 1 + has_spikes]))
    _draw_pair(panels[0], table[table["measure"] == DISTANCE], marker="")
    lead = table[table["measure"] == LEAD].iloc[0]
    panels[0].axvspan(lead["own_low"], lead["own_high"], color=FAINT, alpha=0.2, linewidth=0)
    panels[0].set(xlabel="ms after the start", ylabel="distance (mV)", xlim=(0, None), ylim=(0, None))
    panels[0].legend(loc="lower right", title="distance from", title_fontsize=8)
    if has_spikes:
        _draw_pair(panels[1], table[table["measure"] == SPIKES], marker="o")
        panels[1].set(xlabel="ms after the start", ylabel="spikes hit (F1)", xlim=(0, None), ylim=(0, None))
    return figure


def _draw_pair(axes: Axes, rows: pd.DataFrame, *, marker: str) -> None:
    for name, label, colour in (("own", _OWN, FORECASTER), ("shuffled", _SHUFFLED, FAINT)):
        axes.plot(rows["time_ms"], rows[name], marker=marker, markersize=3, color=colour, label=label)
        axes.fill_between(
            rows["time_ms"], rows[f"{name}_low"], rows[f"{name}_high"], color=colour, alpha=0.2, linewidth=0
        )


OUT_OF_DISTRIBUTION = "out_of_distribution"
_SURE_AUC = 0.99
_LEAST_FALSE_ALARMS = 1e-3


def out_of_distribution_figure(table: pd.DataFrame, *, subtitle: str) -> RenderedFigure:
    """What is recognised, by fault and level, and how it is paid for in false alarms."""
    return render(
        OUT_OF_DISTRIBUTION,
        lambda: draw_out_of_distribution(table),
        title="Does it notice what it was not trained on?",
        subtitle=subtitle,
        caption="Above: each fault from mild (left) to severe. In a cell stand the fault's level and, below it, the "
        "AUC: the chance that a faulty window looks odder than a clean one (0.5 is guessing, 1 is certain). Below: how "
        "many of the faulty windows are recognised for how many false alarms, at a middling level of each fault; the "
        "dotted line is where the forecaster's own limit lies on these recordings.",
        basis=f"share of windows · {int(table['n_windows'].iloc[-1])} faulty windows at each level, "
        f"{int(table['n_clean_windows'].iloc[-1]):,} clean ones",
    )


def draw_out_of_distribution(table: pd.DataFrame) -> Figure:
    """A panel of cells, and a panel of ROC curves."""
    faults = table[table["corruption"] != CLEAN]
    names = list(dict.fromkeys(faults["corruption"]))
    figure = new_figure(1.9 + 0.36 * len(names))
    cells, curves = figure.subplots(2, 1, height_ratios=(0.36 * len(names), 1.7))
    _draw_cells(cells, faults, names)
    _draw_curves(curves, faults, names)
    curves.axvline(float(table.loc[table["corruption"] == CLEAN, "false_alarms"].iloc[0]), color=FAINT, linestyle=":")
    return figure


def _draw_cells(axes: Axes, faults: pd.DataFrame, names: list[str]) -> None:
    of_levels = faults[faults["is_limit"]]
    for row, name in enumerate(names):
        own = of_levels[of_levels["corruption"] == name]
        for column, (level, auc) in enumerate(zip(own["level"], own["auc"], strict=True)):
            sure = float(np.clip(2 * auc - 1, 0, 1))
            axes.barh(row, 0.94, left=column, height=0.9, color=BASELINES["autoregression"], alpha=0.08 + 0.6 * sure)
            axes.text(column + 0.47, row, f"{level:g}\n{auc:.2f}", ha="center", va="center", fontsize=7.5)
    units = of_levels.groupby("corruption", sort=False)["unit"].first()
    axes.set_yticks(range(len(names)), [f"{name}, {units[name]}" for name in names], fontsize=7)
    axes.set(ylim=(len(names) - 0.5, -0.5), xticks=[])
    axes.tick_params(axis="y", left=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_curves(axes: Axes, faults: pd.DataFrame, names: list[str]) -> None:
    always, colours = 0, iter(GROUPS * 2)
    for name in names:
        own = faults[(faults["corruption"] == name) & ~faults["is_limit"]]
        levels = own["level"].unique()
        own = own[(own["level"] == levels[len(levels) // 2]) & (own["false_alarms"] > 0)]
        if own["auc"].iloc[0] > _SURE_AUC:
            always += 1
            continue
        label = f"{name}: {level_text(own['level'].iloc[0], own['unit'].iloc[0])}"
        axes.plot(own["false_alarms"], own["recognised"], "o-", markersize=3, color=next(colours), label=label)
    if always:
        axes.plot([_LEAST_FALSE_ALARMS, 1], [1, 1], color=FAINT, label=f"{always} others, all but certainly")
    chance = np.geomspace(_LEAST_FALSE_ALARMS, 1, 50)
    axes.plot(chance, chance, color=FAINT, linewidth=0.5)
    axes.set_xscale("log")
    axes.set_xticks([0.001, 0.01, 0.1, 1], ["0.1 %", "1 %", "10 %", "100 %"])
    axes.set(xlabel="false alarms", ylabel="recognised", ylim=(-0.03, 1.06))
    axes.legend(loc="center left", bbox_to_anchor=(0.01, 0.6), fontsize=7)
