"""Figures of scores, errors, calibration and the learning curve."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

from voltpipe.evaluation.diagnostics.diagnostics import LOOK_UP
from voltpipe.evaluation.figure_data import FigureData
from voltpipe.evaluation.labels import OBSERVABLE_CEILING, duration_label, forecaster_label
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import DistributionScore, Evaluation
from voltpipe.reporting.figures.figure_style import BASELINES, CEILING_COLOR, FAINT, FORECASTER, GROUPS, INK, new_figure

_LOWEST_R2 = -0.25
_PLAIN = StrMethodFormatter("{x:g}")
"""Format of powers of ten as plain numbers: math text is off because channel names may contain "$"."""


def horizon_colors(n_horizons: int) -> list[tuple[float, float, float, float]]:
    """Return colors from the shortest to the longest horizon, all visible on white and on black."""
    return [colormaps["viridis"](position) for position in np.linspace(0.3, 0.85, n_horizons)]


def draw_horizons(evaluation: Evaluation, regime: Regime) -> Figure:
    """Draw R2 of all forecasters by horizon, and below it the difference from the lookup table."""
    curves = {name: _curve(evaluation, name, regime) for name in (*evaluation.baselines, evaluation.forecaster)}
    has_reference = LOOK_UP in evaluation.baselines
    figure = new_figure(4.6 if has_reference else 3.2)
    if not has_reference:
        axes = figure.subplots()
        _draw_curves(axes, evaluation, curves, None)
        lowest = axes
    else:
        axes, lowest = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        _draw_curves(axes, evaluation, curves, None)
        _draw_curves(lowest, evaluation, curves, curves[LOOK_UP])
        compared = [_above(curves[evaluation.forecaster], curves[LOOK_UP])]
        if evaluation.ceiling_r2:
            compared.append(_above(evaluation.ceiling_r2, curves[LOOK_UP]))
        reach = 1.5 * max((abs(gain) for curve in compared for gain in curve.values()), default=0) or 0.01
        lowest.set(ylim=(-reach, reach), ylabel="R² minus lookup table")
    values = [r2 for curve in (*curves.values(), evaluation.ceiling_r2) for r2 in curve.values()]
    axes.set(ylim=(max(_LOWEST_R2, min([*values, 0]) - 0.03), max([*values, 0.1]) + 0.05), ylabel="R² (of mV)")
    axes.legend(loc="upper right", ncols=2)
    horizons = sorted({score.horizon for score in evaluation.scores})
    lowest.set_xscale("log")
    lowest.xaxis.set_minor_locator(NullLocator())
    rate_hz = evaluation.provenance.rate_hz
    lowest.set_xticks([_ms(h, rate_hz) for h in horizons], [f"{_ms(h, rate_hz):.3g}" for h in horizons])
    lowest.set_xlabel("horizon (ms)")
    return figure


def _ms(n_samples: int, rate_hz: float) -> float:
    return 1000 * n_samples / rate_hz


def _curve(evaluation: Evaluation, name: str, regime: Regime) -> dict[int, float]:
    return {s.horizon: s.r2 for s in evaluation.scores if (s.forecaster, s.regime) == (name, regime)}


def _above(curve: dict[int, float], reference: dict[int, float]) -> dict[int, float]:
    return {horizon: r2 - reference[horizon] for horizon, r2 in curve.items() if horizon in reference}


def _draw_curves(
    axes: Axes, evaluation: Evaluation, curves: dict[str, dict[int, float]], reference: dict[int, float] | None
) -> None:
    rate_hz = evaluation.provenance.rate_hz
    axes.axhline(0, color=FAINT, linewidth=0.7)
    ceiling = evaluation.ceiling_r2 if reference is None else _above(evaluation.ceiling_r2, reference)
    if ceiling:
        x = [_ms(horizon, rate_hz) for horizon in ceiling]
        y = np.array(list(ceiling.values()))
        error = 2 * np.array([evaluation.ceiling_standard_error.get(horizon, 0) for horizon in ceiling])
        axes.fill_between(x, y - error, y + error, color=CEILING_COLOR, alpha=0.25, linewidth=0)
        axes.plot(x, y, color=CEILING_COLOR, linestyle="--", label="ceiling")
    observable = evaluation.observable_ceiling_r2
    if observable:
        observable = observable if reference is None else _above(observable, reference)
        x = [_ms(horizon, rate_hz) for horizon in observable]
        axes.plot(x, list(observable.values()), color=CEILING_COLOR, linestyle=":", label=OBSERVABLE_CEILING)
    for name, r2 in curves.items():
        curve = r2 if reference is None else _above(r2, reference)
        own = name == evaluation.forecaster
        axes.plot(
            [_ms(horizon, rate_hz) for horizon in curve],
            list(curve.values()),
            color=FORECASTER if own else BASELINES.get(name, FAINT),
            linewidth=2.4 if own else 1.2,
            marker="o",
            markersize=5 if own else 3,
            label=forecaster_label(name),
        )


def draw_channels(evaluation: Evaluation, detail: FigureData) -> Figure:
    """Draw R2 of each channel at the shortest horizon, sorted and colored by type."""
    r2 = detail.r2_by_channel[evaluation.forecaster][0]
    order = np.argsort(r2)[: np.isfinite(r2).sum()]
    figure = new_figure(3.0)
    axes = figure.subplots()
    if LOOK_UP in detail.r2_by_channel:
        axes.plot(
            detail.r2_by_channel[LOOK_UP][0][order],
            "_",
            color=FAINT,
            markersize=4,
            label=forecaster_label(LOOK_UP),
        )
    types = np.array(detail.channel_types)[order]
    for number, kind in enumerate(dict.fromkeys(detail.channel_types)):
        rank = np.flatnonzero(types == kind)
        axes.plot(
            rank,
            r2[order][rank],
            "o",
            color=GROUPS[number % len(GROUPS)],
            markersize=3.5,
            label=f"{kind} ({len(rank)})",
        )
    if len(order):
        axes.annotate(
            detail.channel_names[order[0]],
            (0, r2[order[0]]),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set(xlabel="channel, from worst to best", ylabel="R² (of mV)")
    axes.legend(loc="lower right")
    return figure


def draw_error_distribution(evaluation: Evaluation, detail: FigureData) -> Figure:
    """Draw the density of errors by horizon."""
    figure = new_figure(3.0)
    axes = figure.subplots()
    edges_mv = detail.error_edges_mv
    centers_mv = (edges_mv[1:] + edges_mv[:-1]) / 2
    shown = detail.error_counts.sum(0) > 0
    for color, horizon, counts in zip(
        horizon_colors(len(detail.horizons)), detail.horizons, detail.error_counts, strict=True
    ):
        score = evaluation.score(evaluation.forecaster, detail.regime, horizon)
        density = counts / (max(counts.sum(), 1) * np.diff(edges_mv))
        label = f"{duration_label(horizon, evaluation.provenance.rate_hz)}: RMSE {score.rmse_mv:#.3g} mV"
        axes.plot(centers_mv[shown], np.where(counts, density, np.nan)[shown], color=color, label=label)
    axes.axvline(0, color=FAINT, linewidth=0.7)
    axes.set(yscale="log", xlabel="forecast minus true voltage (mV)", ylabel="density (1/mV)")
    axes.yaxis.set_major_formatter(_PLAIN)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def draw_forecast_against_truth(detail: FigureData) -> Figure:
    """Draw the joint histogram of true and forecast voltage, at the shortest horizon."""
    counts, edges_mv = detail.joint_counts, detail.joint_edges_mv
    figure = new_figure(3.8)
    axes = figure.subplots()
    used = np.flatnonzero(counts.sum(0) + counts.sum(1))
    if len(used):
        low, high = used[0], used[-1] + 1
        mesh = axes.pcolormesh(
            edges_mv[low : high + 1],
            edges_mv[low : high + 1],
            np.where(counts, counts, np.nan).T[low:high, low:high],
            cmap="YlGnBu",
            norm=LogNorm(vmin=0.5),
            rasterized=True,
        )
        figure.colorbar(mesh, ax=axes, label="number of targets", format=_PLAIN).outline.set_visible(False)
        axes.plot(edges_mv[[low, high]], edges_mv[[low, high]], color=FAINT, linewidth=0.8)
        centers_mv = (edges_mv[1:] + edges_mv[:-1]) / 2
        forecasts = counts.sum(0)
        frequent = forecasts >= max(20, 1e-4 * forecasts.sum())
        mean_truth_mv = centers_mv @ counts[:, frequent] / forecasts[frequent]
        axes.plot(mean_truth_mv, centers_mv[frequent], color=FORECASTER, linewidth=1.8)
    axes.set(xlabel="true voltage (mV)", ylabel="forecast (mV)", aspect="equal")
    return figure


def draw_learning_curve(detail: FigureData, rate_hz: float) -> Figure:
    """Draw loss and validation R2 over training time."""
    records = detail.history
    elapsed_s = [record.elapsed_s for record in records]
    figure = new_figure(2.8)
    loss, skill = figure.subplots(1, 2)
    loss.plot(elapsed_s, [r.train_loss for r in records], ".-", color=FAINT, label="training")
    loss.plot(elapsed_s, [r.validation_loss for r in records], ".-", color=INK, label="validation")
    loss.set(xlabel="training time (s)", ylabel="mean squared error (z²)")
    horizons = records[-1].validation_r2
    for color, horizon in zip(horizon_colors(len(horizons)), horizons, strict=True):
        r2 = [record.validation_r2[horizon] for record in records]
        skill.plot(elapsed_s, r2, ".-", color=color, label=duration_label(horizon, rate_hz))
    skill.set(xlabel="training time (s)", ylabel="R² (of mV)", ylim=(min(0, max(-0.2, min(r2))), None))
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def draw_calibration(evaluation: Evaluation, regime: Regime) -> Figure:
    """Draw the coverage of the central intervals and the reliability of spike probabilities, by horizon."""
    own = evaluation.forecaster
    found = [evaluation.find_distribution(own, regime, horizon) for horizon in evaluation.horizons]
    scores = [score for score in found if score]
    has_spikes = any(score.spikes for score in scores)
    figure = new_figure(3.2)
    coverage, *reliability = figure.subplots(1, 2 if has_spikes else 1, squeeze=False)[0]
    for color, score in zip(horizon_colors(len(scores)), scores, strict=True):
        _draw_coverage(coverage, score, color, duration_label(score.horizon, evaluation.provenance.rate_hz))
        for axes in reliability:
            _draw_reliability(axes, score, color)
    coverage.set(xlabel="nominal interval (%)", ylabel="true voltages inside (%)", aspect="equal")
    _diagonal(coverage, 100.0)
    for axes in reliability:
        axes.set(xlabel="forecast spike probability", ylabel="share with a spike", aspect="equal")
        _diagonal(axes, 1.0)
    figure.legend(*coverage.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _draw_coverage(axes: Axes, score: DistributionScore, color: tuple[float, ...], label: str) -> None:
    covered = [100 * share for share in score.coverage.values()]
    axes.plot(list(score.coverage), covered, ".-", color=color, linewidth=1, markersize=3, label=label)


def _draw_reliability(axes: Axes, score: DistributionScore, color: tuple[float, ...]) -> None:
    if score.spikes:
        bins = score.spikes.reliability
        axes.plot(
            [bin_.chance for bin_ in bins],
            [bin_.frequency for bin_ in bins],
            ".-",
            color=color,
            linewidth=1,
            markersize=4,
        )


def _diagonal(axes: Axes, end: float) -> None:
    axes.plot([0, end], [0, end], color=FAINT, linewidth=0.7, zorder=0)
