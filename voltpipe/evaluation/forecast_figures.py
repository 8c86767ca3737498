"""Figures of forecasts drawn over what was recorded."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voltpipe.evaluation.detail import EvaluationDetail, Example, Stretch
from voltpipe.evaluation.distribution_sums import BAND
from voltpipe.evaluation.drawing import BASELINES, FAINT, FORECASTER, INK, new_figure
from voltpipe.evaluation.labels import duration_label

_FANS = 10
_SHOWN_HISTORY = 40


def draw_stretch(stretch: Stretch, horizons: tuple[int, ...], rate_hz: float) -> Figure:
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


def draw_examples(detail: EvaluationDetail, rate_hz: float) -> Figure:
    """History, truth and forecast of each example, with the interval that should hold 80 % of truths."""
    figure = new_figure(3.8)
    panels = figure.subplots(2, (len(detail.examples) + 1) // 2, sharex=True, sharey=True, squeeze=False)
    for axes, example in zip(panels.ravel(), detail.examples, strict=False):
        _draw_example(axes, example, detail.horizons, rate_hz)
        axes.set_title(f"{example.channel}, rank {example.error_quantile:.0%}", fontsize=8)
    _label(figure, panels)
    return figure


def draw_worst(detail: EvaluationDetail, rate_hz: float) -> Figure:
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
