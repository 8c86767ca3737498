"""Figure of the champion's live skill."""

from io import BytesIO

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from voltpipe.evaluation.labels import forecaster_label
from voltpipe.reporting.figures.figure_style import BASELINES, FAINT, FORECASTER, GROUPS, STYLE, WARNING

_MARKERS = "osD^vP"


def live_skill_png(scores: pd.DataFrame, drifted: frozenset[str], expected_r2: float | None) -> bytes:
    """Draw the mean R2 over horizons on each recording, in order of arrival, as PNG.

    Args:
        scores: columns `recording`, `organoid`, `version`, `forecaster`, `scored_utc`, `r2`.
        drifted: keys of recordings whose statistics drifted, circled in red.
        expected_r2: R2 of the champion on held-out recordings at training, drawn as a dashed line; None omits it.
    """
    order = {key: place for place, key in enumerate(scores.sort_values("scored_utc")["recording"].unique(), 1)}
    means = scores.groupby(["version", "forecaster", "organoid", "recording"], sort=False)["r2"].mean().reset_index()
    means["place"] = means["recording"].map(order)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.0), dpi=100, layout="constrained")
        axes = figure.subplots()
        for name, color in BASELINES.items():
            baseline = means[means["forecaster"] == name].drop_duplicates("recording", keep="last")
            if len(baseline):
                axes.plot(baseline["place"], baseline["r2"], ".", color=color, label=forecaster_label(name))
        champion = means[means["forecaster"] == "champion"]
        for number, (organoid, own) in enumerate(champion.groupby("organoid")):
            color = FORECASTER if champion["organoid"].nunique() == 1 else GROUPS[number % len(GROUPS)]
            for version_number, (_, line) in enumerate(own.groupby("version")):  # a gap where the champion changed
                axes.plot(
                    line["place"],
                    line["r2"],
                    color=color,
                    marker=_MARKERS[number % len(_MARKERS)],
                    markersize=4,
                    label=f"champion, {organoid}" if version_number == 0 else None,
                )
        moved = champion[champion["recording"].isin(drifted)]
        if len(moved):
            axes.plot(moved["place"], moved["r2"], "o", markersize=10, fillstyle="none", color=WARNING, label="drifted")
        if expected_r2 is not None:
            axes.axhline(expected_r2, color=FAINT, linestyle="--", linewidth=1, label="held-out R² at training")
        axes.set_xlabel("recordings, in order of arrival")
        axes.set_ylabel("R², mean over horizons")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        file = BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue()
