"""The figure of who drives whom."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm, to_rgba
from matplotlib.figure import Figure

from voltpipe.forecasting.connectivity.connectivity import SenderType
from voltpipe.reporting.figures.figure_style import FAINT, INK, RenderedFigure, new_figure, render

CONNECTIVITY = "connectivity"

_RAISES, _LOWERS = "#d55e00", "#2f8fd0"
_COLOURS = LinearSegmentedColormap.from_list(
    "signed", [(0, to_rgba(_LOWERS)), (0.5, to_rgba(_LOWERS, 0)), (0.5, to_rgba(_RAISES, 0)), (1, to_rgba(_RAISES))]
)
"""No shift is no colour: the page's ground shows through."""
_LEAST_MV = 1e-3


def connectivity_figure(table: pd.DataFrame) -> RenderedFigure:
    """The first organoid of a connectivity table, which has one at least."""
    organoid = table["organoid"].iloc[0]
    is_known = bool(table["is_connected_truth"].notna().iloc[0])
    return render(
        CONNECTIVITY,
        lambda: draw_connectivity(table[table["organoid"] == organoid]),
        title=f"Connections of {organoid}",
        subtitle="as its training recordings show them",
        caption="Each row is a channel that spikes, each column one whose voltage that shifts (mV): orange raises, "
        "blue lowers. Channels are sorted by what they do to others, in rows and columns alike."
        + (" Beside it, the network that was simulated." if is_known else ""),
        basis=f"mV · {int((table['organoid'] == organoid).sum()):,} pairs of channels, from training recordings",
    )


def draw_connectivity(pairs: pd.DataFrame) -> Figure:
    """The matrix of one organoid's weights; beside it the true one, where that is known."""
    sender_types = pairs.groupby("sender", sort=False)["sender_type"].first()
    kinds = [kind for kind in SenderType if (sender_types == kind.value).any()]
    order = [name for kind in kinds for name in sender_types.index[sender_types == kind.value]]
    shown = {"found": _matrix_mv(pairs, "weight_mv", order)}
    if pairs["is_connected_truth"].notna().all():
        shown["truth"] = _matrix_mv(pairs, "true_weight_mv", order)
    lowest_mv = min(-_LEAST_MV, *(float(matrix_mv.min()) for matrix_mv in shown.values()))
    highest_mv = max(_LEAST_MV, *(float(matrix_mv.max()) for matrix_mv in shown.values()))
    norm = TwoSlopeNorm(0, lowest_mv, highest_mv)
    figure = new_figure(3.55 if len(shown) > 1 else 5.0)
    panels: list[Axes] = list(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0])
    for axes, (name, matrix_mv) in zip(panels, shown.items(), strict=True):
        image = axes.imshow(matrix_mv, cmap=_COLOURS, norm=norm, interpolation="nearest")
        axes.set(title=name, xlabel="receiver", xticks=[])
        axes.tick_params(left=False)
        axes.spines[:].set(visible=True, color=FAINT, linewidth=0.7)
    counts = [int((sender_types == kind.value).sum()) for kind in kinds]
    ends = np.cumsum(counts)
    for axes in panels:
        for end in ends[:-1]:
            axes.axhline(end - 0.5, color=FAINT, linewidth=0.7)
            axes.axvline(end - 0.5, color=FAINT, linewidth=0.7)
    labels = [f"{count}\n{kind.value}" for kind, count in zip(kinds, counts, strict=True)]
    panels[0].set_yticks(ends - (np.array(counts) + 1) / 2, labels, rotation=90, va="center")
    panels[0].set_ylabel("sender", color=INK)
    bar = figure.colorbar(image, ax=panels, orientation="horizontal", shrink=0.6, aspect=30)
    bar.set_label("shift of the receiver's voltage by a spike (mV)")
    ticks_mv = (lowest_mv, lowest_mv / 2, 0, highest_mv / 2, highest_mv)
    bar.set_ticks(ticks_mv, labels=[f"{mv:.3g}".replace("-", "−") for mv in ticks_mv])  # noqa: RUF001
    bar.outline.set_visible(False)
    return figure


def _matrix_mv(pairs: pd.DataFrame, column: str, order: list[str]) -> Float[np.ndarray, "sender receiver"]:
    """No channel drives itself, so zeros stand there."""
    matrix_mv = pairs.pivot(index="sender", columns="receiver", values=column).reindex(index=order, columns=order)
    return np.asarray(matrix_mv.fillna(0.0), np.float64)
