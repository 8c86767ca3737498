"""The figure of what a forecaster notices."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.evaluation.diagnosis.corruption import level_text
from voltpipe.evaluation.diagnosis.out_of_distribution import CLEAN
from voltpipe.evaluation.drawing import BASELINES, FAINT, GROUPS, RenderedFigure, new_figure, render

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
