"""Figures of an evaluation: their list, and example forecasts next to the true voltage."""

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
    """Texts of a figure, and the function that draws it."""

    name: str
    title: str
    caption: str
    basis: str
    draw: Callable[[], Figure]


def figures(evaluation: Evaluation, detail: FigureData) -> Drawings:
    """Return the drawing functions of all figures that have data, in reading order."""
    protocol = evaluation.provenance.protocol
    subtitle = f"{forecaster_label(evaluation.forecaster)} on {regime_label(detail.regime, protocol)}"
    warning = _OVERLAP if protocol == Protocol.PUBLISHED else ""
    return {
        drawing.name: partial(
            render,
            drawing.name,
            drawing.draw,
            title=drawing.title,
            subtitle=subtitle,
            caption=drawing.caption,
            basis=drawing.basis,
            warning=warning,
        )
        for drawing in _drawings(evaluation, detail)
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
        "Top: share of the voltage's variance that the forecast explains. 1 is perfect; 0 is as good as forecasting "
        "the mean; negative is worse. Bottom: difference from the lookup table on the last sample. The band is ±2 "
        "standard errors of the ceiling.",
        f"R² · {targets} at each horizon",
        partial(draw_horizons, evaluation, detail.regime),
    )
    if detail.stretch:
        yield _Drawing(
            "stretch",
            "Forecasts and recorded voltage",
            f"Black: recorded voltage. Dots: forecasts made {nearest} earlier. Blue: forecasts of all horizons from "
            f"one time. Channels with a low, a medium and a high R², in {detail.stretch.recording}.",
            f"mV · {detail.stretch.truth_mv.size:,} targets of one recording",
            partial(draw_segment, detail.stretch, detail.horizons, rate_hz),
        )
    yield _Drawing(
        "examples",
        "Example forecasts, from easy to hard",
        "The windows were not selected by hand: they lie at fixed ranks of the squared error. "
        "A forecast is the expected voltage, so it varies less than the recorded voltage. "
        "The band, if shown, is the 80 % interval: it should contain the "
        "true voltage in four of five cases.",
        f"mV · {len(detail.examples)} of {score.n_targets:,} forecasts",
        partial(draw_examples, detail, rate_hz),
    )
    yield _Drawing(
        "worst",
        f"Largest errors, {nearest} ahead",
        "Windows with the largest errors, largest first; no two of them overlap. Each title names the channel and the "
        "error, positive if the forecast is too high. Common features of these windows show what is hardest to "
        "forecast.",
        f"mV · {len(detail.worst)} of {score.n_targets:,} forecasts",
        partial(draw_worst, detail, rate_hz),
    )
    yield _Drawing(
        "r2_by_channel",
        f"R² of each channel, {nearest} ahead",
        "Channels from worst to best; a dash is the lookup table on the same channel. The worst channel is labeled.",
        f"R² · {targets}, {len(detail.channel_names)} channels",
        partial(draw_channels, evaluation, detail),
    )
    yield _Drawing(
        "error_distribution",
        "Distribution of errors",
        "Density of errors; right of zero, the forecast is too high. The logarithmic scale shows the rare large "
        "errors, which contribute most to the RMSE.",
        f"mV · {targets} at each horizon",
        partial(draw_error_distribution, evaluation, detail),
    )
    yield _Drawing(
        "forecast_against_truth",
        f"Forecast against true voltage, {nearest} ahead",
        "Darker cells hold more targets. The thick line is the mean true voltage for each forecast; where it leaves "
        "the diagonal, forecasts are biased.",
        f"mV · {targets}",
        partial(draw_forecast_against_truth, detail),
    )
    if evaluation.find_distribution(evaluation.forecaster, detail.regime, detail.horizons[0]):
        yield _Drawing(
            "calibration",
            "Calibration of the predictive distribution",
            "Left: share of true voltages inside each central interval. Right, if the voltage shows spikes: observed "
            "share of spikes for each forecast spike probability. The diagonal is perfect calibration; on the left, "
            "a curve below it means that intervals are too narrow.",
            f"shares · {targets} at each horizon",
            partial(draw_calibration, evaluation, detail.regime),
        )
    if detail.history:
        yield _Drawing(
            "learning_curve",
            "Learning curve",
            "Left: loss on training and validation windows, in z-score units squared. Right: R² on validation windows. "
            "If R² still rises at the end, longer training may help.",
            f"z-score units squared, R² · {len(detail.history)} epochs",
            partial(draw_learning_curve, detail, rate_hz),
        )


_FANS = 10
_HISTORY_SAMPLES = 40


def draw_segment(segment: ExampleSegment, horizons: tuple[int, ...], rate_hz: float) -> Figure:
    """Draw each channel's voltage, its forecasts at the shortest horizon, and some forecasts of all horizons."""
    figure = new_figure(1.3 * len(segment.channels) + 0.6)
    rows = figure.subplots(len(segment.channels), sharex=True, squeeze=False)[:, 0]
    time_ms = 1000 * (segment.start_s + np.arange(len(segment.truth_mv)) / rate_hz)
    ahead_ms = 1000 * np.array((0, *horizons)) / rate_hz
    nearest = duration_label(horizons[0], rate_hz)
    fan_every = max(1, len(time_ms) // _FANS)
    for column, (axes, channel) in enumerate(zip(rows, segment.channels, strict=True)):
        axes.plot(time_ms, segment.truth_mv[:, column], color=INK, linewidth=0.9, label="recorded")
        axes.plot(
            time_ms + ahead_ms[1],
            segment.forecast_mv[:, 0, column],
            ".",
            color=FORECASTER,
            markersize=3,
            label=f"forecast {nearest} ahead",
        )
        for number, origin in enumerate(range(fan_every // 2, len(time_ms), fan_every)):
            fan_mv = np.append(segment.truth_mv[origin, column], segment.forecast_mv[origin, :, column])
            axes.plot(
                time_ms[origin] + ahead_ms,
                fan_mv,
                color=BASELINES["look_up"],
                linewidth=1.3,
                label=f"forecasts up to {duration_label(horizons[-1], rate_hz)} ahead" if number == 0 else None,
            )
        axes.set(ylabel="mV", title=channel)
    rows[-1].set(xlabel="time in the conditioned recording (ms)")
    handles, labels = rows[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def draw_examples(detail: FigureData, rate_hz: float) -> Figure:
    """Draw history, truth, forecast and 80 % interval of each example."""
    figure = new_figure(3.8)
    panels = figure.subplots(2, (len(detail.examples) + 1) // 2, sharex=True, sharey=True, squeeze=False)
    for axes, example in zip(panels.ravel(), detail.examples, strict=False):
        _draw_example(axes, example, detail.horizons, rate_hz)
        axes.set_title(f"{example.channel}, rank {example.error_quantile:.0%}", fontsize=8)
    _label(figure, panels)
    return figure


def draw_worst(detail: FigureData, rate_hz: float) -> Figure:
    """Draw the windows with the largest errors, each titled with its error at the shortest horizon."""
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
    n_history = min(_HISTORY_SAMPLES, len(example.history_mv))
    voltage_mv = np.append(example.history_mv[-n_history:], example.truth_mv)
    time_ms = 1000 * np.arange(1 - n_history, len(example.truth_mv) + 1) / rate_hz
    axes.axvline(0, color=FAINT, linewidth=0.7)
    axes.plot(time_ms[:n_history], voltage_mv[:n_history], color=FAINT, linewidth=1.1, label="history")
    axes.plot(time_ms[n_history - 1 :], voltage_mv[n_history - 1 :], color=INK, linewidth=1.1, label="truth")
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
