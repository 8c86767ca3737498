"""Figures of the diagnostics: errors by group, robustness to corruptions, novelty detection and roll-outs."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.evaluation.diagnostics.activity import FACTOR
from voltpipe.evaluation.diagnostics.corruptions import level_text
from voltpipe.evaluation.diagnostics.diagnostics import Diagnostics
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
_LARGEST_RATIO = 100.0
"""Ratio of distances at which marks are clipped; also used where the distance between recordings is zero."""


def diagnostics_figures(evaluation: Evaluation, diagnostics: Diagnostics) -> Drawings:
    """Return the drawing functions of all diagnostics that have data."""
    name, provenance = evaluation.forecaster, evaluation.provenance
    rate_hz = provenance.rate_hz
    subtitle = f"{forecaster_label(name)} on {regime_label(evaluation.regimes[0], provenance.protocol)}"
    drawings: dict[str, Callable[[pd.DataFrame], RenderedFigure]] = {
        ERRORS_BY_GROUP: partial(group_figure, forecaster=name, rate_hz=rate_hz, subtitle=subtitle),
        ROBUSTNESS: partial(robustness_figure, forecaster=name, rate_hz=rate_hz, subtitle=subtitle),
        OUT_OF_DISTRIBUTION: partial(out_of_distribution_figure, subtitle=subtitle),
        RESEMBLANCE: partial(resemblance_figure, subtitle=subtitle),
        FOLLOWING: partial(following_figure, subtitle=subtitle),
    }
    tables = {figure: getattr(diagnostics, figure) for figure in drawings}
    return {figure: partial(draw, tables[figure]) for figure, draw in drawings.items() if len(tables[figure])}


def robustness_figure(table: pd.DataFrame, forecaster: str, *, rate_hz: float, subtitle: str) -> RenderedFigure:
    """Render R2 by corruption and level, at the shortest horizon."""
    horizon = int(table["horizon"].min())
    return render(
        ROBUSTNESS,
        lambda: draw_robustness(table[table["horizon"] == horizon], forecaster, horizon),
        title=f"Robustness to corrupted inputs, {duration_label(horizon, rate_hz)} ahead",
        subtitle=subtitle,
        caption="R² from clean (left) to severely corrupted inputs (right); the true voltage is not corrupted. The "
        "dotted vertical line marks the first level at which a baseline is better. R² below 0 is worse than "
        "forecasting the mean.",
        basis=f"R² · {int(table['n_targets'].max()):,} targets at each level",
    )


def draw_robustness(table: pd.DataFrame, forecaster: str, horizon: int) -> Figure:
    """Draw one panel per corruption."""
    broken = failure_levels(table, forecaster, horizon)
    units = table.groupby("corruption", sort=False)["unit"].first()
    n_columns = 3
    n_rows = -(-len(units) // n_columns)
    figure = new_figure(1.35 * n_rows)
    panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).ravel()
    for axes, (corruption, unit) in zip(panels, units.items(), strict=False):
        r2 = table[table["corruption"] == corruption].pivot(index="level", columns="forecaster", values="r2")
        for name in sorted(r2, key=lambda name: name == forecaster):
            color = FORECASTER if name == forecaster else BASELINES.get(str(name), FAINT)
            axes.plot(np.arange(len(r2)), r2[name], "o-", color=color, markersize=3, label=forecaster_label(str(name)))
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
    """Render the distance between roll-outs and recordings, by activity measure."""
    return render(
        RESEMBLANCE,
        lambda: draw_resemblance(table),
        title="Does roll-out activity resemble the organoid?",
        subtitle=subtitle,
        caption="In a roll-out, each sample is drawn from the predictive distribution and fed back as input. A dot is "
        "the distance of roll-outs from recordings, divided by the distance between recordings. At 1, a roll-out is as "
        "close as another recording; right of the dotted line, it differs from recordings.",
        basis="ratio of distances",
    )


def draw_resemblance(table: pd.DataFrame) -> Figure:
    """Draw one row per activity measure."""
    ratios = (table["distance"] / table["noise_floor"]).clip(upper=_LARGEST_RATIO).to_numpy()
    figure = new_figure(0.5 + 0.22 * len(table))
    axes = figure.subplots()
    rows = np.arange(len(table))
    axes.axvline(1, color=FAINT, linewidth=0.8)
    axes.axvline(FACTOR, color=FAINT, linewidth=0.8, linestyle=":")
    axes.hlines(rows, 1, ratios, color=FAINT, linewidth=0.8)
    for row, resembles in enumerate(table["resembles"]):
        axes.plot(ratios[row], row, "o", color=BASELINES["autoregression"] if resembles else FORECASTER)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if tick <= max(2 * float(ratios.max()), 5)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(rows, table["measure"])
    axes.tick_params(axis="y", left=False)
    axes.spines["left"].set_visible(False)
    axes.set(ylim=(len(table) - 0.5, -0.5), xlabel="distance to recordings / distance between recordings")
    return figure


FOLLOWING = "following"
_OWN, _SHUFFLED = "its own recording", "another recording"


def following_figure(table: pd.DataFrame, *, subtitle: str) -> RenderedFigure:
    """Render the distance of roll-outs from the truth over time, and how well their spikes match."""
    return render(
        FOLLOWING,
        lambda: draw_following(table),
        title="How long does a roll-out follow its recording?",
        subtitle=subtitle,
        caption="Roll-outs start at several times in held-out recordings. Left: distance of the roll-out from its own "
        "recording and from another one. Once the two lines meet (shaded: 95% CI of that time), the roll-out holds no "
        "more information about its own recording. Right, if the voltage shows spikes: F1 score of its spikes within "
        "2 ms of recorded ones, from the start up to each time; 1 is a perfect match.",
        basis=f"RMS difference in mV; F1 of spikes · {int(table['n_starts'].iloc[0])} starts, bands: 95% CI",
    )


def draw_following(table: pd.DataFrame) -> Figure:
    """Draw one panel for the voltage, and one for spikes if there are any."""
    has_spikes = bool((table["measure"] == SPIKES).any())
    figure = new_figure(2.6)
    panels = np.atleast_1d(figure.subplots(1, 1 + has_spikes, width_ratios=(3, 2)[: 1 + has_spikes]))
    _draw_pair(panels[0], table[table["measure"] == DISTANCE], marker="")
    lead = table[table["measure"] == LEAD].iloc[0]
    panels[0].axvspan(lead["own_low"], lead["own_high"], color=FAINT, alpha=0.2, linewidth=0)
    panels[0].set(xlabel="ms after the start", ylabel="distance (mV)", xlim=(0, None), ylim=(0, None))
    panels[0].legend(loc="lower right", title="distance to", title_fontsize=8)
    if has_spikes:
        _draw_pair(panels[1], table[table["measure"] == SPIKES], marker="o")
        panels[1].set(xlabel="ms after the start", ylabel="F1 of spikes", xlim=(0, None), ylim=(0, None))
    return figure


def _draw_pair(axes: Axes, rows: pd.DataFrame, *, marker: str) -> None:
    for name, label, color in (("own", _OWN, FORECASTER), ("shuffled", _SHUFFLED, FAINT)):
        axes.plot(rows["time_ms"], rows[name], marker=marker, markersize=3, color=color, label=label)
        axes.fill_between(
            rows["time_ms"], rows[f"{name}_low"], rows[f"{name}_high"], color=color, alpha=0.2, linewidth=0
        )


OUT_OF_DISTRIBUTION = "out_of_distribution"
_SURE_AUC = 0.99
_LEAST_FALSE_ALARMS = 1e-3


def out_of_distribution_figure(table: pd.DataFrame, *, subtitle: str) -> RenderedFigure:
    """Render the detection of corruptions by level, and the trade-off with false alarms."""
    return render(
        OUT_OF_DISTRIBUTION,
        lambda: draw_out_of_distribution(table),
        title="Detection of out-of-distribution inputs",
        subtitle=subtitle,
        caption="Top: each corruption from mild (left) to severe (right). A cell shows the level and, below it, the "
        "AUC: the probability that a corrupted window has a higher novelty than a clean one (0.5 is chance, 1 is "
        "perfect). Bottom: share of corrupted windows detected against the share of false alarms, at a medium level. "
        "The dotted line is the false-alarm rate at the forecaster's novelty limit.",
        basis=f"share of windows · {int(table['n_windows'].iloc[-1])} corrupted windows at each level, "
        f"{int(table['n_clean_windows'].iloc[-1]):,} clean windows",
    )


def draw_out_of_distribution(table: pd.DataFrame) -> Figure:
    """Draw a panel of AUC cells and a panel of ROC curves."""
    corrupted = table[table["corruption"] != CLEAN]
    names = list(dict.fromkeys(corrupted["corruption"]))
    figure = new_figure(1.9 + 0.36 * len(names))
    cells, curves = figure.subplots(2, 1, height_ratios=(0.36 * len(names), 1.7))
    _draw_cells(cells, corrupted, names)
    _draw_curves(curves, corrupted, names)
    curves.axvline(float(table.loc[table["corruption"] == CLEAN, "false_alarms"].iloc[0]), color=FAINT, linestyle=":")
    return figure


def _draw_cells(axes: Axes, corrupted: pd.DataFrame, names: list[str]) -> None:
    of_levels = corrupted[corrupted["is_limit"]]
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


def _draw_curves(axes: Axes, corrupted: pd.DataFrame, names: list[str]) -> None:
    n_perfect, colors = 0, iter(GROUPS * 2)
    for name in names:
        own = corrupted[(corrupted["corruption"] == name) & ~corrupted["is_limit"]]
        levels = own["level"].unique()
        own = own[(own["level"] == levels[len(levels) // 2]) & (own["false_alarms"] > 0)]
        if own["auc"].iloc[0] > _SURE_AUC:
            n_perfect += 1
            continue
        label = f"{name}: {level_text(own['level'].iloc[0], own['unit'].iloc[0])}"
        axes.plot(own["false_alarms"], own["recognised"], "o-", markersize=3, color=next(colors), label=label)
    if n_perfect:
        axes.plot([_LEAST_FALSE_ALARMS, 1], [1, 1], color=FAINT, label=f"{n_perfect} others (AUC > {_SURE_AUC:g})")
    chance = np.geomspace(_LEAST_FALSE_ALARMS, 1, 50)
    axes.plot(chance, chance, color=FAINT, linewidth=0.5)
    axes.set_xscale("log")
    axes.set_xticks([0.001, 0.01, 0.1, 1], ["0.1 %", "1 %", "10 %", "100 %"])
    axes.set(xlabel="false alarms", ylabel="detected", ylim=(-0.03, 1.06))
    axes.legend(loc="center left", bbox_to_anchor=(0.01, 0.6), fontsize=7)
