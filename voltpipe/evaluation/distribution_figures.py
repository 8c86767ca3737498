"""Figures of predictive distributions: whether they are as often right as they say."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.evaluation.distribution_score import DistributionScore
from voltpipe.evaluation.drawing import FAINT, new_figure
from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.labels import duration_label
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.score_figures import horizon_colours


def draw_calibration(evaluation: Evaluation, regime: Regime) -> Figure:
    """Coverage of the central intervals, and how often spikes come when they are given a chance, by horizon."""
    own = evaluation.forecaster
    found = [evaluation.find_distribution(own, regime, horizon) for horizon in evaluation.horizons]
    scores = [score for score in found if score]
    has_spikes = any(score.spikes for score in scores)
    figure = new_figure(3.2)
    coverage, *reliability = figure.subplots(1, 2 if has_spikes else 1, squeeze=False)[0]
    for colour, score in zip(horizon_colours(len(scores)), scores, strict=True):
        _draw_coverage(coverage, score, colour, duration_label(score.horizon, evaluation.provenance.rate_hz))
        for axes in reliability:
            _draw_reliability(axes, score, colour)
    coverage.set(xlabel="interval (% of probability)", ylabel="truths inside (%)", aspect="equal")
    _diagonal(coverage, 100.0)
    for axes in reliability:
        axes.set(xlabel="forecast chance of a spike", ylabel="share with a spike", aspect="equal")
        _diagonal(axes, 1.0)
    figure.legend(*coverage.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _draw_coverage(axes: Axes, score: DistributionScore, colour: tuple[float, ...], label: str) -> None:
    covered = [100 * share for share in score.coverage.values()]
    axes.plot(list(score.coverage), covered, ".-", color=colour, linewidth=1, markersize=3, label=label)


def _draw_reliability(axes: Axes, score: DistributionScore, colour: tuple[float, ...]) -> None:
    if score.spikes:
        bins = score.spikes.reliability
        axes.plot(
            [bin_.chance for bin_ in bins],
            [bin_.frequency for bin_ in bins],
            ".-",
            color=colour,
            linewidth=1,
            markersize=4,
        )


def _diagonal(axes: Axes, end: float) -> None:
    axes.plot([0, end], [0, end], color=FAINT, linewidth=0.7, zorder=0)
