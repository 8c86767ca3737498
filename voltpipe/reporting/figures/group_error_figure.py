"""Figure of errors by group of targets."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from voltpipe.evaluation.diagnostics.diagnostics import LOOK_UP
from voltpipe.evaluation.diagnostics.group_errors import out_of_proportion
from voltpipe.evaluation.labels import duration_label, forecaster_label
from voltpipe.reporting.figures.figure_style import (
    BASELINES,
    CEILING_COLOR,
    FAINT,
    FORECASTER,
    INK,
    RenderedFigure,
    new_figure,
    render,
)

ERRORS_BY_GROUP = "errors_by_group"

_MOST_GROUPS = 8
"""Maximum number of groups shown per grouping; the ones with the largest RMSE are kept."""


def group_figure(table: pd.DataFrame, forecaster: str, *, rate_hz: float, subtitle: str) -> RenderedFigure:
    """Render the RMSE by group at the shortest horizon; the table must not be empty."""
    horizon = int(table["horizon"].min())
    shown = table[table["horizon"] == horizon]
    n_targets = int(shown[shown["forecaster"] == forecaster].groupby("kind")["n_targets"].sum().max())
    return render(
        ERRORS_BY_GROUP,
        lambda: draw_groups(shown, forecaster),
        title=f"Errors by group, {duration_label(horizon, rate_hz)} ahead",
        subtitle=subtitle,
        caption="RMSE over the targets of each group, with its 95 % CI. Small blue dots show the lookup table on the "
        "same targets"
        + (", gold lines the irreducible error" if shown["ceiling_r2"].notna().any() else "")
        + ". Groupings are sorted by the largest disproportionate loss of any group. At most "
        f"{_MOST_GROUPS} groups are shown per grouping, those with the largest RMSE.",
        basis=f"mV · {n_targets:,} targets",
    )


def draw_groups(table: pd.DataFrame, forecaster: str) -> Figure:
    """Draw one row per group, at one horizon."""
    own = table[table["forecaster"] == forecaster].set_index(["kind", "group"])
    other = table[table["forecaster"] == LOOK_UP].set_index(["kind", "group"])["rmse_mv"]
    of_kinds = out_of_proportion(own.reset_index()).groupby(own.index.get_level_values("kind").to_numpy()).max()
    lines: list[tuple[str, str | None]] = []
    for kind in of_kinds.sort_values(ascending=False).index:
        groups = own.loc[kind]
        worst = groups["rmse_mv"].nlargest(_MOST_GROUPS).index
        lines += [(kind, None), *((kind, group) for group in groups.index if group in worst)]
    figure = new_figure(0.4 + 0.19 * len(lines))
    axes = figure.subplots()
    for row, (kind, group) in enumerate(lines):
        if group is None:
            axes.axhline(row, color=FAINT, linewidth=0.5, alpha=0.5)
            continue
        found = own.loc[(kind, group)]
        axes.plot([found["rmse_mv_low"], found["rmse_mv_high"]], [row, row], color=FORECASTER)
        axes.plot(found["rmse_mv"], row, "o", color=FORECASTER, markersize=4)
        least_mv = np.sqrt(max(found["rmse_mv"] ** 2 - found["loss_mv2"], 0.0))
        axes.plot(least_mv, row, "|", color=CEILING_COLOR, markersize=8)
        if (kind, group) in other.index:
            axes.plot(other[(kind, group)], row, "o", color=BASELINES[LOOK_UP], markersize=3, alpha=0.7)
    axes.set_yticks(range(len(lines)), [kind if group is None else group for kind, group in lines])
    for label, (_, group) in zip(axes.get_yticklabels(), lines, strict=True):
        label.set(fontweight="bold" if group is None else "normal", fontsize=8)
    axes.tick_params(axis="y", left=False)
    axes.set(ylim=(len(lines) - 0.5, -0.5), xlabel="RMSE (mV)")
    axes.spines["left"].set_visible(False)
    axes.text(
        1,
        1.005,
        f"{forecaster_label(forecaster)}  ",
        ha="right",
        va="bottom",
        color=FORECASTER,
        transform=axes.transAxes,
    )
    axes.text(
        0, 1.005, forecaster_label(LOOK_UP), ha="left", va="bottom", color=BASELINES[LOOK_UP], transform=axes.transAxes
    )
    axes.xaxis.label.set_color(INK)
    return figure
