"""The figures of an evaluation, each with a line that says how to read it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.evaluation.accumulators import BAND
from voltpipe.evaluation.figure_data import Example, ExampleSegment, FigureData
from voltpipe.evaluation.labels import duration_label, forecaster_label, regime_label
from voltpipe.evaluation.results import Evaluation
from voltpipe.reporting.figures.figure_style import BASELINES, FAINT, FORECASTER, INK, Drawings, new_figure, render
from voltpipe.reporting.figures.score_figures import (
    draw_calibration,
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


def figures(evaluation: Evaluation, detail: FigureData) -> Drawings:
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


def _drawings(evaluation: Evaluation, detail: FigureData) -> Iterator[_Drawing]:
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


_FANS = 10
_SHOWN_HISTORY = 40


def draw_stretch(stretch: ExampleSegment, horizons: tuple[int, ...], rate_hz: float) -> Figure:
    """Each channel's course, the forecast made one shortest horizon before each moment, and fans from some moments."""
    figure = new_figure(1.3 * len(stretch.channels) + 0.6)
    rows = figure.subplots(len(stretch.channels), sharex=True, squeeze=False)[:, 0]
    time_ms = 1000 * (stretch.start_s + np.arange(len(stretch.truth_mv)) / rate_hz)
    ahead_ms = 1000 * np.array((0, *horizons)) / rate_hz
    nearest = duration_label(horizons[0], rate_hz)
    fan_every = max(1, len(time_ms) // _FANS)
    for column, (axes, channel) in enumerate(zip(rows, stretch.channels, strict=True)):
        axes.plot(time_ms, stretch.truth_mv[:, column], color=INK, linewidth=0.9, label="recorded")
        axes.plot(
            time_ms + ahead_ms[1],
            stretch.forecast_mv[:, 0, column],
            ".",
            color=FORECASTER,
            markersize=3,
            label=f"forecast {nearest} before",
        )
        for number, origin in enumerate(range(fan_every // 2, len(time_ms), fan_every)):
            fan_mv = np.append(stretch.truth_mv[origin, column], stretch.forecast_mv[origin, :, column])
            axes.plot(
                time_ms[origin] + ahead_ms,
                fan_mv,
                color=BASELINES["look_up"],
                linewidth=1.3,
                label=f"forecast up to {duration_label(horizons[-1], rate_hz)} ahead" if number == 0 else None,
            )
        axes.set(ylabel="mV", title=channel)
    rows[-1].set(xlabel="time from the beginning of the conditioned recording (ms)")
    handles, labels = rows[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def draw_examples(detail: FigureData, rate_hz: float) -> Figure:
    """History, truth and forecast of each example, with the interval that should hold 80 % of truths."""
    figure = new_figure(3.8)
    panels = figure.subplots(2, (len(detail.examples) + 1) // 2, sharex=True, sharey=True, squeeze=False)
    for axes, example in zip(panels.ravel(), detail.examples, strict=False):
        _draw_example(axes, example, detail.horizons, rate_hz)
        axes.set_title(f"{example.channel}, rank {example.error_quantile:.0%}", fontsize=8)
    _label(figure, panels)
    return figure


def draw_worst(detail: FigureData, rate_hz: float) -> Figure:
    """The same of the worst, the worst first, each with its error at the shortest horizon."""
    n_columns = 4
    n_rows = -(-len(detail.worst) // n_columns)
    figure = new_figure(0.6 + 1.15 * n_rows)
    panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axes, example in zip(panels.ravel(), detail.worst, strict=False):
        _draw_example(axes, example, detail.horizons, rate_hz)
        error_mv = float(example.forecast_mv[0] - example.truth_mv[detail.horizons[0] - 1])
        axes.set_title(f"{example.channel}: {error_mv:+.1f} mV", fontsize=7)
    for axes in panels.ravel()[len(detail.worst) :]:
        axes.set_visible(False)
    _label(figure, panels)
    return figure


def _draw_example(axes: Axes, example: Example, horizons: tuple[int, ...], rate_hz: float) -> None:
    ahead_ms = 1000 * np.array((0, *horizons)) / rate_hz
    n_history = min(_SHOWN_HISTORY, len(example.history_mv))
    course_mv = np.append(example.history_mv[-n_history:], example.truth_mv)
    time_ms = 1000 * np.arange(1 - n_history, len(example.truth_mv) + 1) / rate_hz
    axes.axvline(0, color=FAINT, linewidth=0.7)
    axes.plot(time_ms[:n_history], course_mv[:n_history], color=FAINT, linewidth=1.1, label="history")
    axes.plot(time_ms[n_history - 1 :], course_mv[n_history - 1 :], color=INK, linewidth=1.1, label="truth")
    forecast_mv = np.append(example.history_mv[-1], example.forecast_mv)
    if example.band_mv is not None:
        low_mv, high_mv = (np.append(example.history_mv[-1], end_mv) for end_mv in example.band_mv)
        axes.fill_between(
            ahead_ms, low_mv, high_mv, color=FORECASTER, alpha=0.2, linewidth=0, label=f"{BAND} % interval"
        )
    axes.plot(ahead_ms, forecast_mv, "o-", color=FORECASTER, markersize=3, markevery=slice(1, None), label="forecast")


def _label(figure: Figure, panels: np.ndarray) -> None:
    for axes in panels[-1]:
        axes.set_xlabel("ms from now")
    for axes in panels[:, 0]:
        axes.set_ylabel("mV")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
