"""Figures of what forecasts depend on: ablations, attribution, channel influence and temporal filters."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from voltpipe.evaluation.interpretation.ablations import COUPLING, HISTORY
from voltpipe.evaluation.interpretation.attribution import OTHERS, OWN, RANDOM, TRAINED
from voltpipe.evaluation.interpretation.interpretation import Interpretation
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
from voltpipe.reporting.interpretation_text import best_attribution, some_horizons

ABLATIONS, ATTRIBUTION, INFLUENCE, FILTERS = "ablations", "attribution", "influence", "filters"

_N_STRONGEST = 3
_ATTRIBUTION_DECADES, _INFLUENCE_DECADES = 4, 3
_LEAST_MV = 1e-12
_SOURCES = {OWN: "own history", OTHERS: "other channels"}
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
"""Format of powers of ten as plain numbers, because math text is off."""


def interpretation_figures(evaluation: Evaluation, interpretation: Interpretation) -> Drawings:
    """Return the drawing functions of all parts that have data."""
    provenance = evaluation.provenance
    drawings: dict[str, Callable[[], RenderedFigure]] = {}
    rate_hz = provenance.rate_hz
    subtitle = (
        f"{forecaster_label(evaluation.forecaster)} on {regime_label(evaluation.regimes[0], provenance.protocol)}"
    )
    ablations, attribution, influence = interpretation.ablations, interpretation.attribution, interpretation.influence
    cuts = ablations[ablations["ablation"].isin((COUPLING, HISTORY))] if len(ablations) else ablations
    if len(cuts):
        drawings[ABLATIONS] = partial(ablation_figure, cuts, rate_hz=rate_hz, subtitle=subtitle)
    if len(attribution):
        drawings[ATTRIBUTION] = partial(attribution_figure, attribution, rate_hz=rate_hz, subtitle=subtitle)
    if len(influence) and influence["influence_mv"].any():
        drawings[INFLUENCE] = partial(influence_figure, influence, subtitle=subtitle)
    if len(interpretation.filters) and len(interpretation.responses):
        filters, responses = interpretation.filters, interpretation.responses
        drawings[FILTERS] = partial(filter_figure, filters, responses, subtitle=subtitle)
    return drawings


def ablation_figure(table: pd.DataFrame, *, rate_hz: float, subtitle: str) -> RenderedFigure:
    """Render the R2 lost without the other channels, and without older samples."""
    counts = [
        f"{int(table.loc[table['ablation'] == kind, 'n_targets'].iloc[0]):,} targets at each horizon {words}"
        for kind, words in ((COUPLING, "without other channels"), (HISTORY, "without older samples"))
        if (table["ablation"] == kind).any()
    ]
    return render(
        ABLATIONS,
        lambda: draw_ablations(table, rate_hz),
        title="R² lost when inputs are left out",
        subtitle=subtitle,
        caption="R² that is lost when the history of the other channels, or all samples older than a given time, are "
        "replaced by samples of another time; 0 means no loss. Vertical lines are 95 % CIs over "
        f"{table['unit'].iloc[0]}. Dashed: the loss to expect from how much the other channels change the forecasts, "
        "if all of that change improved them.",
        basis=f"R² · {', '.join(counts)}",
    )


def attribution_figure(table: pd.DataFrame, *, rate_hz: float, subtitle: str) -> RenderedFigure:
    """Render how much each part of the history changes a forecast."""
    best = best_attribution(table)
    return render(
        ATTRIBUTION,
        lambda: draw_attribution(table, rate_hz),
        title="Attribution to parts of the history",
        subtitle=subtitle,
        caption="How much each part of the history changes the forecast, compared with the forecast from another time. "
        "The scale is logarithmic. Parts without a bar change it by less than 1/10,000 of the largest change. Dashes: "
        "the same model with random weights.",
        basis=f"mV, mean absolute attribution by {best['method'].iloc[0]} · one channel in each of "
        f"{best['n_windows'].iloc[0]} windows",
    )


def influence_figure(table: pd.DataFrame, *, subtitle: str) -> RenderedFigure:
    """Render the influence of each channel on each other one, and how well it ranks connected pairs."""
    truth = (
        " Right: ROC curve of finding connected pairs by their influence; the steeper the curve rises, the better "
        "influence identifies them."
    )
    return render(
        INFLUENCE,
        lambda: draw_influence(table),
        title=f"Influence between channels in {table['organoid'].iloc[0]}",
        subtitle=subtitle,
        caption="Change of the forecast of each receiving channel (column) when the history of a sending channel (row) "
        f"is replaced by that of another time.{truth if _is_known(table) else ''}",
        basis=f"mV, root mean square over horizons · {table['sender'].nunique():,} senders and "
        f"{table['receiver'].nunique():,} receivers, {table['n_windows'].iloc[0]} windows for each sender",
    )


def filter_figure(filters: pd.DataFrame, responses: pd.DataFrame, *, subtitle: str) -> RenderedFigure:
    """Render the temporal filters and their frequency responses."""
    return render(
        FILTERS,
        lambda: draw_filters(filters, responses),
        title="Temporal filters of the first convolution",
        subtitle=subtitle,
        caption="Left: weights of each filter on a channel's own voltage, most recent sample first. Right: frequency "
        "response of each filter. The three strongest filters have the same color in both panels.",
        basis=f"weight; gain in dB (0 dB: unchanged) · {filters['filter'].nunique()} filters",
    )


def draw_ablations(table: pd.DataFrame, rate_hz: float) -> Figure:
    """Draw the loss without other channels by horizon, and without older samples by the length of history kept."""
    kinds = [kind for kind in (COUPLING, HISTORY) if (table["ablation"] == kind).any()]
    figure = new_figure(2.5)
    panels = dict(zip(kinds, figure.subplots(1, len(kinds), squeeze=False)[0], strict=True))
    for axes in panels.values():
        axes.axhline(0, color=FAINT, linewidth=0.5)
    if COUPLING in panels:
        coupling, axes = table[table["ablation"] == COUPLING], panels[COUPLING]
        places = np.arange(len(coupling))
        axes.plot(
            places, coupling["r2_moved"], "o--", color=FAINT, markersize=3.5, linewidth=0.8, label="if fully used"
        )
        _intervals(axes, places, coupling, FORECASTER, "measured")
        axes.legend(loc="lower left")
        axes.set_xticks(places, [f"{1000 * h / rate_hz:.3g}" for h in coupling["horizon"]])
        axes.set(title="without the other channels", xlabel="horizon (ms)", ylabel="R² lost")
    if HISTORY in panels:
        history, axes = table[table["ablation"] == HISTORY], panels[HISTORY]
        kept_ms = sorted(history["kept_ms"].unique())
        for number, horizon in enumerate(some_horizons(history["horizon"])):
            of_one = history[history["horizon"] == horizon]
            label = f"{duration_label(horizon, rate_hz)} ahead"
            _intervals(axes, np.arange(len(kept_ms)) + 0.15 * (number - 1), of_one, GROUPS[number], label)
        axes.set_xticks(np.arange(len(kept_ms)), [f"{ms:g}" for ms in kept_ms])
        axes.set(title="without older samples", xlabel="history kept (ms)")
        axes.legend()
        if COUPLING not in panels:
            axes.set_ylabel("R² lost")
    return figure


def _intervals(axes: Axes, places: np.ndarray, table: pd.DataFrame, color: str, label: str) -> None:
    known = table["low"].notna().to_numpy()
    axes.vlines(places[known], table["low"][known], table["high"][known], color=color)
    axes.plot(places, table["r2_lost"], "o-", color=color, markersize=3.5, linewidth=0.8, label=label)


def draw_attribution(table: pd.DataFrame, rate_hz: float) -> Figure:
    """Draw a panel for each of some horizons, with a pair of bars for each part of the history."""
    trained, random = (best_attribution(table, weights) for weights in (TRAINED, RANDOM))
    horizons = some_horizons(trained["horizon"])
    figure = new_figure(2.4)
    panels = figure.subplots(1, len(horizons), sharey=True, squeeze=False)[0]
    highest_mv = max(float(table["attribution_mv"].max()), _LEAST_MV)
    ends_ms = trained[["from_ms", "to_ms"]].drop_duplicates()
    labels = [f"{start:.3g} to {stop:.3g}" for start, stop in ends_ms.itertuples(index=False)]
    for axes, horizon in zip(panels, horizons, strict=True):
        for shift, source, color in ((-0.2, OWN, FORECASTER), (0.2, OTHERS, BASELINES["look_up"])):
            bars_mv, dashes_mv = (
                table.loc[(table["horizon"] == horizon) & (table["source"] == source), "attribution_mv"]
                for table in (trained, random)
            )
            if len(bars_mv):
                axes.bar(np.arange(len(bars_mv)) + shift, bars_mv, 0.4, color=color, label=_SOURCES[source])
            axes.plot(np.arange(len(dashes_mv)) + shift, dashes_mv, "_", color=INK, markersize=4)
        axes.set_xticks(np.arange(len(labels)), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
        axes.set(title=f"{duration_label(horizon, rate_hz)} ahead", yscale="log", xlabel="time before now (ms)")
        axes.set_ylim(highest_mv / 10**_ATTRIBUTION_DECADES, 2 * highest_mv)
        axes.yaxis.set_major_formatter(_PLAIN)
    panels[0].set_ylabel("attribution (mV)")
    panels[-1].legend()
    return figure


def draw_influence(table: pd.DataFrame) -> Figure:
    """Draw the influence matrix and, if the true connections are known, the ROC curve."""
    is_known = _is_known(table)
    figure = new_figure(3.0)
    panels = figure.subplots(1, 1 + is_known, squeeze=False)[0]
    matrix_mv = table.pivot(index="sender", columns="receiver", values="influence_mv")
    senders, receivers = table["sender"].unique(), table["receiver"].unique()
    matrix_mv = matrix_mv.reindex(index=senders, columns=sorted(receivers, key=list(matrix_mv.columns).index))
    highest_mv = float(np.nanmax(matrix_mv))
    norm = LogNorm(highest_mv / 10**_INFLUENCE_DECADES, highest_mv, clip=True)
    image = panels[0].imshow(matrix_mv, cmap="cividis", norm=norm, interpolation="nearest", aspect="auto")
    panels[0].set(xlabel="receiver", ylabel="sender", xticks=[], yticks=[])
    label = "change of the forecast (mV)"
    figure.colorbar(image, ax=panels[0], orientation="horizontal", shrink=0.9, label=label, format=_PLAIN)
    if is_known:
        for column, color, label in (
            ("influence_mv", FORECASTER, "this forecaster"),
            ("untrained_mv", FAINT, "random weights"),
        ):
            ordered = table.sort_values(column, ascending=False)["is_connected_truth"].to_numpy(bool)
            panels[1].plot(
                np.cumsum(~ordered) / (~ordered).sum(), np.cumsum(ordered) / ordered.sum(), color=color, label=label
            )
        panels[1].plot([0, 1], [0, 1], color=FAINT, linewidth=0.5, linestyle=":")
        panels[1].set(xlabel="false positive rate", ylabel="true positive rate")
        panels[1].legend(loc="lower right")
    return figure


def draw_filters(filters: pd.DataFrame, responses: pd.DataFrame) -> Figure:
    """Draw weights and gains, with the strongest filters in color."""
    energy = filters.assign(energy=filters["weight"] ** 2).groupby("filter")["energy"].sum()
    strongest = list(energy.nlargest(_N_STRONGEST).index)
    figure = new_figure(2.4)
    taps, gains = figure.subplots(1, 2)
    panels = ((taps, filters, "lag_ms", "weight"), (gains, responses, "frequency_hz", "gain_db"))
    for axes, table, x, y in panels:
        for number, of_one in table.groupby("filter"):
            if number not in strongest:
                axes.plot(of_one[x], of_one[y], color=FAINT, linewidth=0.4, alpha=0.5)
        for number, color in zip(strongest, GROUPS, strict=False):
            of_one = table[table["filter"] == number]
            axes.plot(
                of_one[x], of_one[y], color=color, linewidth=1.4, marker="o" if len(of_one) < 12 else "", markersize=3
            )
    taps.axhline(0, color=FAINT, linewidth=0.5)
    taps.set(xlabel="time before now (ms)", ylabel="weight")
    gains.set(
        xlabel="frequency (Hz)", ylabel="gain (dB)", ylim=(max(-60.0, float(responses["gain_db"].min()) - 3), None)
    )
    return figure


def _is_known(table: pd.DataFrame) -> bool:
    return bool(table["is_connected_truth"].notna().all())
