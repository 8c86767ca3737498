"""The page of a comparison: one file that needs nothing else, its tables beside it."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from voltpipe.evaluation.version_comparison import MEAN, VersionComparison
from voltpipe.lake.files import atomic_write
from voltpipe.reporting.figures.figure_style import CONTENDERS, FAINT, RenderedFigure, new_figure, render
from voltpipe.reporting.figures.interactive_figures import Explorer, embed_figures
from voltpipe.reporting.page import provenance_text, render_template, template_figures
from voltpipe.reporting.verdict import Standing

_PAGE, _GAINS, _BY_RECORDING = "comparison.html", "gains.parquet", "by_recording.parquet"
_ALL = "all"


def write_comparison(folder: Path, comparison: VersionComparison) -> Path:
    """Write page and tables into a folder, each whole or not at all; the page's path."""
    for name, table in ((_GAINS, comparison.gains), (_BY_RECORDING, comparison.by_recording)):
        with atomic_write(folder / name) as aside:
            table.to_parquet(aside, index=False)
    path = folder / _PAGE
    with atomic_write(path) as aside:
        aside.write_text(_rendered(comparison), encoding="utf-8")
    return path


_CLAIMS = {
    Standing.BETTER: "is better than",
    Standing.WORSE: "is worse than",
    Standing.UNSURE: "cannot be told from",
}


def comparison_standings(comparison: VersionComparison) -> dict[str, Standing]:
    """Return how each other forecaster stands against the first over all horizons; UNSURE on a single recording."""
    return {str(row["forecaster"]): _standing(row) for _, row in _whole(comparison).iterrows()}


def verdicts(comparison: VersionComparison) -> tuple[str, ...]:
    """Say in a sentence for each other forecaster whether it is better than the first."""
    return tuple(_verdict(row, comparison.names[0]) for _, row in _whole(comparison).iterrows())


def _whole(comparison: VersionComparison) -> pd.DataFrame:
    gains = comparison.gains
    return gains[(gains["group"] == _ALL) & (gains["horizon"] == MEAN)]


def _standing(row: pd.Series) -> Standing:
    return Standing.BETTER if row["low"] > 0 else Standing.WORSE if row["high"] < 0 else Standing.UNSURE


def _verdict(row: pd.Series, first: str) -> str:
    name, figures = row["forecaster"], f"mean R² {row['r2']:.4f} against {row['first_r2']:.4f}"
    if np.isnan(row["low"]):
        return f"{name} against {first}: {figures}, on one recording: which is better cannot be told."
    interval = f"a gain of {row['gain']:+.4f} (95 % between {row['low']:+.4f} and {row['high']:+.4f})"
    return f"{name} {_CLAIMS[_standing(row)]} {first}: {figures}, {interval} on {row['n_recordings']} recordings."


def _rendered(comparison: VersionComparison) -> str:
    gains, provenance = comparison.gains, comparison.first.provenance
    colours = dict(zip(comparison.names, cycle(CONTENDERS), strict=False))
    with_bounds = gains.rename(columns={"low": "gain_low", "high": "gain_high"})
    bare = comparison.by_recording.assign(r2_low=np.nan, r2_high=np.nan)
    explorers = {
        name: Explorer(table, choices=["horizon"], category=category, series="forecaster", colours=colours).rows(values)
        for name, table, category, values in (
            ("gains", with_bounds, "group", {"gain of R²": "gain"}),
            ("recordings", bare, "recording", {"R²": "r2"}),
        )
    }
    figure = _gain_figure(comparison, colours)
    return render_template(
        "comparison.html",
        title=" and ".join([", ".join(comparison.names[:-1]), comparison.names[-1]]),
        verdicts=verdicts(comparison),
        where=comparison.where,
        scores=_scores(comparison),
        names=comparison.names,
        gains=gains[gains["group"] == _ALL].to_dict("records"),
        n_targets=comparison.n_targets,
        figures=template_figures({"gains": figure}, provenance_text(provenance)),
        explorers=embed_figures(explorers),
        provenance=provenance,
        recordings=sorted(comparison.by_recording["recording"].unique()),
    )


def _scores(comparison: VersionComparison) -> pd.DataFrame:
    """R2 on all recordings, a row a forecaster, a column a horizon."""
    whole = comparison.gains[comparison.gains["group"] == _ALL]
    first = whole.assign(forecaster=comparison.names[0], r2=whole["first_r2"])
    both = pd.concat([first, whole]).drop_duplicates(["forecaster", "horizon"])
    table = both.pivot(index="forecaster", columns="horizon", values="r2")
    return table.loc[list(comparison.names), list(dict.fromkeys(whole["horizon"]))]


def _gain_figure(comparison: VersionComparison, colours: Mapping[str, str]) -> RenderedFigure:
    whole = comparison.gains[comparison.gains["group"] == _ALL]
    n_recordings = int(whole["n_recordings"].max())
    return render(
        "gains",
        lambda: draw_gains(whole, colours),
        title=f"R² above that of {comparison.names[0]}",
        subtitle=comparison.where,
        caption="A dot for each forecaster and horizon, with its 95 % interval. Where that lies above zero, the "
        "forecaster is better; where it holds zero, the two cannot be told apart on these recordings.",
        basis=f"R² · paired over {n_recordings} recording{'' if n_recordings == 1 else 's'}",
    )


def draw_gains(whole: pd.DataFrame, colours: Mapping[str, str]) -> Figure:
    """Gains with their intervals, by horizon."""
    horizons = list(dict.fromkeys(whole["horizon"]))
    figure = new_figure(2.6)
    axes = figure.subplots()
    axes.axhline(0, color=FAINT, linewidth=0.8)
    names = list(whole["forecaster"].unique())
    for number, name in enumerate(names):
        own = whole[whole["forecaster"] == name].set_index("horizon").loc[horizons]
        places = np.arange(len(horizons)) + 0.15 * (number - (len(names) - 1) / 2)
        axes.vlines(places, own["low"], own["high"], color=colours[name], linewidth=2)
        axes.plot(places, own["gain"], "o", color=colours[name], label=name)
    axes.set_xticks(np.arange(len(horizons)), horizons)
    axes.set(xlabel="forecast ahead", ylabel="gain of R²")
    figure.legend(loc="outside upper center", ncols=3)
    return figure
