"""Figure of the estimated connectivity."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm, to_rgba
from matplotlib.figure import Figure

from voltpipe.evaluation.interpretation.interpretation import CONNECTIVITY
from voltpipe.forecasting.connectivity.connectivity import SenderType
from voltpipe.reporting.figures.figure_style import FAINT, INK, RenderedFigure, new_figure, render

_RAISES, _LOWERS = "#d55e00", "#2f8fd0"
_COLORS = LinearSegmentedColormap.from_list(
    "signed", [(0, to_rgba(_LOWERS)), (0.5, to_rgba(_LOWERS, 0)), (0.5, to_rgba(_RAISES, 0)), (1, to_rgba(_RAISES))]
)
"""Colormap of weights; zero is transparent, so that the page's background shows."""
_LEAST_MV = 1e-3
"""Least range of the color scale to each side of zero."""


def connectivity_figure(table: pd.DataFrame) -> RenderedFigure:
    """Render the connectivity of the first organoid in a connectivity table."""
    organoid = table["organoid"].iloc[0]
    is_known = bool(table["is_connected_truth"].notna().iloc[0])
    return render(
        CONNECTIVITY,
        lambda: draw_connectivity(table[table["organoid"] == organoid]),
        title=f"Connections of {organoid}",
        subtitle="estimated from its training recordings",
        caption="Estimated weights in mV: rows are sending channels, columns receiving channels. Orange raises the "
        "receiver's voltage, blue lowers it. Rows and columns are sorted by type of sender."
        + (" The right panel shows the weights of the simulated network." if is_known else ""),
        basis=f"mV · {int((table['organoid'] == organoid).sum()):,} pairs of channels, from training recordings",
    )


def draw_connectivity(pairs: pd.DataFrame) -> Figure:
    """Draw the matrix of one organoid's weights, next to the true matrix if it is known."""
    sender_types = pairs.groupby("sender", sort=False)["sender_type"].first()
    kinds = [kind for kind in SenderType if (sender_types == kind.value).any()]
    order = [name for kind in kinds for name in sender_types.index[sender_types == kind.value]]
    matrices = {"estimated": _matrix_mv(pairs, "weight_mv", order)}
    if pairs["is_connected_truth"].notna().all():
        matrices["truth"] = _matrix_mv(pairs, "true_weight_mv", order)
    lowest_mv = min(-_LEAST_MV, *(float(matrix_mv.min()) for matrix_mv in matrices.values()))
    highest_mv = max(_LEAST_MV, *(float(matrix_mv.max()) for matrix_mv in matrices.values()))
    norm = TwoSlopeNorm(0, lowest_mv, highest_mv)
    figure = new_figure(3.55 if len(matrices) > 1 else 5.0)
    panels: list[Axes] = list(figure.subplots(1, len(matrices), sharey=True, squeeze=False)[0])
    for axes, (name, matrix_mv) in zip(panels, matrices.items(), strict=True):
        image = axes.imshow(matrix_mv, cmap=_COLORS, norm=norm, interpolation="nearest")
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
    bar.set_label("change of the receiver's voltage per spike (mV)")
    ticks_mv = (lowest_mv, lowest_mv / 2, 0, highest_mv / 2, highest_mv)
    bar.set_ticks(ticks_mv, labels=[f"{mv:.3g}".replace("-", "−") for mv in ticks_mv])  # noqa: RUF001
    bar.outline.set_visible(False)
    return figure


def _matrix_mv(pairs: pd.DataFrame, column: str, order: list[str]) -> Float[np.ndarray, "sender receiver"]:
    """Return the weights as a matrix; the diagonal is zero."""
    matrix_mv = pairs.pivot(index="sender", columns="receiver", values=column).reindex(index=order, columns=order)
    return np.asarray(matrix_mv.fillna(0.0), np.float64)
