"""The figures of an evaluation, each with a line that says how to read it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from voltpipe.evaluation.detail import EvaluationDetail
from voltpipe.evaluation.distribution_figures import draw_calibration
from voltpipe.evaluation.drawing import Drawings, render
from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.forecast_figures import draw_examples, draw_stretch, draw_worst
from voltpipe.evaluation.labels import duration_label, forecaster_label, regime_label
from voltpipe.evaluation.score_figures import (
    draw_channels,
    draw_error_distribution,
    draw_forecast_against_truth,
    draw_horizons,
    draw_learning_curve,
)
from voltpipe.windows.settings import Protocol

_OVERLAP = "Published protocol: training and test windows overlap"


class _Drawing(NamedTuple):
    """A figure before it is drawn."""

    name: str
    title: str
    caption: str
    basis: str
    draw: Callable[[], Figure]


def figures(evaluation: Evaluation, detail: EvaluationDetail) -> Drawings:
    """List all figures that the evaluation has something to show for, in reading order."""
    protocol = evaluation.provenance.protocol
    subtitle = f"{forecaster_label(evaluation.forecaster)} on {regime_label(detail.regime, protocol)}"
    warning = _OVERLAP if protocol == Protocol.PUBLISHED else ""
    return {
        each.name: partial(
            render,
            each.name,
            each.draw,
            title=each.title,
            subtitle=subtitle,
            caption=each.caption,
            basis=each.basis,
            warning=warning,
        )
        for each in _drawings(evaluation, detail)
    }


def _drawings(evaluation: Evaluation, detail: EvaluationDetail) -> Iterator[_Drawing]:
    rate_hz = evaluation.provenance.rate_hz
    nearest = duration_label(detail.horizons[0], rate_hz)
    score = evaluation.score(evaluation.forecaster, detail.regime, detail.horizons[0])
    n_recordings = len(evaluation.provenance.recordings[detail.regime])
    targets = f"{score.n_targets:,} targets of {n_recordings} recording{'' if n_recordings == 1 else 's'}"
    yield _Drawing(
        "r2_by_horizon",
        "R² by horizon",
        "Above: the share of the voltage's variance that is forecast; 1 is perfect, 0 is what the mean gives, and what "
        "leaves below is worse than the mean. Below: the same less what a table look-up on the last sample gives. The "
        "band is twice the ceiling's standard error.",
        f"R² · {targets} at each horizon",
        partial(draw_horizons, evaluation, detail.regime),
    )
    if detail.stretch:
        yield _Drawing(
            "stretch",
            "Forecasts drawn over truth",
            f"Line: the recording. Dots: what was forecast for each moment {nearest} before it. Fans: forecasts of all "
            f"horizons from one moment. Channels from a low, a middling and a high R², in {detail.stretch.recording}.",
            f"mV · {detail.stretch.truth_mv.size:,} targets of one recording",
            partial(draw_stretch, detail.stretch, detail.horizons, rate_hz),
        )
    yield _Drawing(
        "examples",
        "Forecasts from easy to hard",
        "Windows at fixed ranks of their squared error: neither the best nor the worst was picked. A forecast is the "
        "expected voltage, hence flatter than any single course. A band, if there is one, should hold the truth four "
        "times out of five.",
        f"mV · {len(detail.examples)} of {score.n_targets:,} forecasts",
        partial(draw_examples, detail, rate_hz),
    )
    yield _Drawing(
        "worst",
        f"The worst forecasts, {nearest} ahead",
        "The largest errors of all, the largest first, no two of them from overlapping windows; above each its channel "
        "and by how much the forecast was too high. What they have in common is what is hardest.",
        f"mV · {len(detail.worst)} of {score.n_targets:,} forecasts",
        partial(draw_worst, detail, rate_hz),
    )
    yield _Drawing(
        "r2_by_channel",
        f"R² of each channel, {nearest} ahead",
        "Channels from the worst to the best; a dash is the look-up on the same channel. The worst is named.",
        f"R² · {targets}, {len(detail.channel_names)} channels",
        partial(draw_channels, evaluation, detail),
    )
    yield _Drawing(
        "error_distribution",
        "Distribution of errors",
        "How often each error occurs; right of zero the forecast was too high. The logarithmic scale shows the rare "
        "large errors, which weigh most in an RMSE.",
        f"mV · {targets} at each horizon",
        partial(draw_error_distribution, evaluation, detail),
    )
    yield _Drawing(
        "forecast_against_truth",
        f"Forecast against truth, {nearest} ahead",
        "Darker is more frequent. The thick line is the mean truth for each forecast; where it leaves the diagonal, "
        "forecasts are biased.",
        f"mV · {targets}",
        partial(draw_forecast_against_truth, detail),
    )
    if evaluation.find_distribution(evaluation.forecaster, detail.regime, detail.horizons[0]):
        yield _Drawing(
            "calibration",
            "Is it as often right as it says?",
            "Left: the share of truths inside each interval about the middle. Right, where spikes are seen: how often "
            "one came within the horizon, for each chance that was forecast. On the diagonal both are what they claim; "
            "below it on the left, intervals are too narrow.",
            f"shares · {targets} at each horizon",
            partial(draw_calibration, evaluation, detail.regime),
        )
    if detail.history:
        yield _Drawing(
            "learning_curve",
            "Learning curve",
            "Left: loss on training and validation windows, in z-units squared. Right: R² on validation windows. If it "
            "still rises at the end, longer training would pay.",
            f"z-units squared, R² · {len(detail.history)} epochs",
            partial(draw_learning_curve, detail, rate_hz),
        )
