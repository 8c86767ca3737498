"""The comparison page: one self-contained HTML file, with its tables as Parquet files in the same folder."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from voltpipe.evaluation.version_comparison import MEAN, VersionComparison
from voltpipe.lake.files import atomic_write
from voltpipe.reporting.figures.figure_style import COMPARED, FAINT, RenderedFigure, new_figure, render
from voltpipe.reporting.figures.interactive_figures import Explorer, embed_figures
from voltpipe.reporting.page import provenance_text, render_template, template_figures
from voltpipe.reporting.verdict import Standing

_PAGE, _GAINS, _BY_RECORDING = "comparison.html", "gains.parquet", "by_recording.parquet"
_ALL = "all"


def write_comparison(folder: Path, comparison: VersionComparison) -> Path:
    """Write the page and its tables into a folder, each as an atomic write; return the path of the page."""
    for name, table in ((_GAINS, comparison.gains), (_BY_RECORDING, comparison.by_recording)):
        with atomic_write(folder / name) as temporary:
            table.to_parquet(temporary, index=False)
    path = folder / _PAGE
    with atomic_write(path) as temporary:
        temporary.write_text(_render_page(comparison), encoding="utf-8")
    return path


_CLAIMS = {
    Standing.BETTER: "is better than",
    Standing.WORSE: "is worse than",
    Standing.UNSURE: "is not significantly different from",
}


def comparison_standings(comparison: VersionComparison) -> dict[str, Standing]:
    """Compare each other forecaster with the first over all horizons; UNSURE on a single recording."""
    return {str(row["forecaster"]): _standing(row) for _, row in _mean_gains(comparison).iterrows()}


def verdicts(comparison: VersionComparison) -> tuple[str, ...]:
    """Return a sentence for each other forecaster that says whether it is better than the first."""
    return tuple(_verdict(row, comparison.names[0]) for _, row in _mean_gains(comparison).iterrows())


def _mean_gains(comparison: VersionComparison) -> pd.DataFrame:
    gains = comparison.gains
    return gains[(gains["group"] == _ALL) & (gains["horizon"] == MEAN)]


def _standing(row: pd.Series) -> Standing:
    return Standing.BETTER if row["low"] > 0 else Standing.WORSE if row["high"] < 0 else Standing.UNSURE


def _verdict(row: pd.Series, first: str) -> str:
    name, scores = row["forecaster"], f"mean R² {row['r2']:.4f} against {row['first_r2']:.4f}"
    if np.isnan(row["low"]):
        return f"{name} and {first}: {scores}. A single recording does not show which is better."
    difference = f"a difference of {row['gain']:+.4f} (95 % CI {row['low']:+.4f} to {row['high']:+.4f})"
    return f"{name} {_CLAIMS[_standing(row)]} {first}: {scores}, {difference} on {row['n_recordings']} recordings."


def _render_page(comparison: VersionComparison) -> str:
    gains, provenance = comparison.gains, comparison.first.provenance
    colors = dict(zip(comparison.names, cycle(COMPARED), strict=False))
    with_intervals = gains.rename(columns={"low": "gain_low", "high": "gain_high"})
    without_intervals = comparison.by_recording.assign(r2_low=np.nan, r2_high=np.nan)
    explorers = {
        name: Explorer(table, choices=["horizon"], category=category, series="forecaster", colors=colors).rows(values)
        for name, table, category, values in (
            ("gains", with_intervals, "group", {"difference of R²": "gain"}),
            ("recordings", without_intervals, "recording", {"R²": "r2"}),
        )
    }
    figure = _gain_figure(comparison, colors)
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
    """Return R2 on all recordings, with a row per forecaster and a column per horizon."""
    overall = comparison.gains[comparison.gains["group"] == _ALL]
    first = overall.assign(forecaster=comparison.names[0], r2=overall["first_r2"])
    both = pd.concat([first, overall]).drop_duplicates(["forecaster", "horizon"])
    table = both.pivot(index="forecaster", columns="horizon", values="r2")
    return table.loc[list(comparison.names), list(dict.fromkeys(overall["horizon"]))]


def _gain_figure(comparison: VersionComparison, colors: Mapping[str, str]) -> RenderedFigure:
    overall = comparison.gains[comparison.gains["group"] == _ALL]
    n_recordings = int(overall["n_recordings"].max())
    return render(
        "gains",
        lambda: draw_gains(overall, colors),
        title=f"R² compared with {comparison.names[0]}",
        subtitle=comparison.where,
        caption="Difference of R² for each forecaster and horizon, with its 95 % confidence interval. Above zero, the "
        "forecaster is better. An interval that includes zero means no significant difference on these recordings.",
        basis=f"R² · paired over {n_recordings} recording{'' if n_recordings == 1 else 's'}",
    )


def draw_gains(overall: pd.DataFrame, colors: Mapping[str, str]) -> Figure:
    """Draw the differences of R2 with their intervals, by horizon."""
    horizons = list(dict.fromkeys(overall["horizon"]))
    figure = new_figure(2.6)
    axes = figure.subplots()
    axes.axhline(0, color=FAINT, linewidth=0.8)
    names = list(overall["forecaster"].unique())
    for number, name in enumerate(names):
        own = overall[overall["forecaster"] == name].set_index("horizon").loc[horizons]
        places = np.arange(len(horizons)) + 0.15 * (number - (len(names) - 1) / 2)
        axes.vlines(places, own["low"], own["high"], color=colors[name], linewidth=2)
        axes.plot(places, own["gain"], "o", color=colors[name], label=name)
    axes.set_xticks(np.arange(len(horizons)), horizons)
    axes.set(xlabel="horizon", ylabel="difference of R²")
    figure.legend(loc="outside upper center", ncols=3)
    return figure
