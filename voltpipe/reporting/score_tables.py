"""Tables of scores, as data frames and as Markdown."""

from collections.abc import Callable

import pandas as pd

from voltpipe.evaluation.labels import (
    CEILING,
    OBSERVABLE_CEILING,
    PUBLISHED_WARNING,
    duration_label,
    forecaster_label,
    regime_label,
)
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import DistributionScore, Evaluation, SpikeScore
from voltpipe.windows.settings import Protocol


def score_table(evaluation: Evaluation, regime: Regime) -> pd.DataFrame:
    """Return R2 in one regime: rows are the forecaster, baselines and ceilings, columns the horizons ("5 ms").

    A value is NaN where a forecaster has no such horizon or the ceiling is unknown.
    """
    horizons = sorted({score.horizon for score in evaluation.scores})
    rows = {
        forecaster_label(name): [
            score.r2 if (score := evaluation.find_score(name, regime, horizon)) else None for horizon in horizons
        ]
        for name in (evaluation.forecaster, *evaluation.baselines)
    }
    ceilings = {OBSERVABLE_CEILING: evaluation.observable_ceiling_r2, CEILING: evaluation.ceiling_r2}
    rows |= {label: [r2.get(horizon) for horizon in horizons] for label, r2 in ceilings.items() if r2}
    columns = [duration_label(horizon, evaluation.provenance.rate_hz) for horizon in horizons]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype="float64")


def score_text(evaluation: Evaluation) -> str:
    """Return the score tables of all regimes in Markdown that is also readable in a terminal."""
    protocol = evaluation.provenance.protocol
    parts = [PUBLISHED_WARNING] if protocol == Protocol.PUBLISHED else []
    for regime in evaluation.regimes:
        n_targets = evaluation.score(evaluation.forecaster, regime, evaluation.horizons[0]).n_targets
        parts.append(f"R2 on {regime_label(regime, protocol)} ({n_targets:,} targets at each horizon)")
        parts.append(markdown_table(score_table(evaluation, regime).map(lambda r2: "" if pd.isna(r2) else f"{r2:.3f}")))
    return "\n\n".join(parts)


def markdown_table(table: pd.DataFrame) -> str:
    """Format a table of strings as Markdown with aligned columns."""
    rows = [["", *table.columns], *([name, *cells] for name, *cells in table.itertuples())]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    rows.insert(1, ["-" * first, *("-" * (width - 1) + ":" for width in widths)])
    return "\n".join(
        f"| {name.ljust(first)} | " + " | ".join(map(str.rjust, cells, widths)) + " |" for name, *cells in rows
    )


_REFERENCE = "look_up"
_INTERVALS = (50, 80, 95)
_UNKNOWN = ""

Cell = Callable[[DistributionScore], str]


def distribution_table(evaluation: Evaluation, regime: Regime) -> dict[str, list[str]]:
    """Return scores of the predictive distribution: rows by name, with one cell per horizon.

    Empty if the forecaster has no predictive distribution. The distribution of the lookup table (the voltages that
    followed the present voltage in training) is included for comparison.
    """
    own = evaluation.forecaster
    if not any(score.forecaster == own for score in evaluation.distributions):
        return {}
    rows: dict[str, tuple[str, Cell]] = {"CRPS (mV)": (own, lambda score: f"{score.crps_mv:#.3g}")}
    has_reference = any(score.forecaster == _REFERENCE for score in evaluation.distributions) and own != _REFERENCE
    if has_reference:
        rows["CRPS of the lookup table (mV)"] = (_REFERENCE, rows["CRPS (mV)"][1])
    for percent in _INTERVALS:
        rows[f"truth inside the {percent} % interval"] = (own, _coverage(percent))
    rows["mean width of the 80 % interval (mV)"] = (own, lambda score: f"{score.width_mv[80]:#.3g}")
    if any(score.spikes for score in evaluation.distributions if score.forecaster == own):
        rows["targets with a spike"] = (own, _of_spikes(lambda spikes: f"{spikes.rate:.1%}"))
        rows["AUC of the spike probability"] = (own, _of_spikes(lambda spikes: f"{spikes.auc:.3f}"))
        if has_reference:
            rows["AUC of the lookup table"] = (_REFERENCE, rows["AUC of the spike probability"][1])
        rows["Brier score of the spike probability"] = (own, _of_spikes(lambda spikes: f"{spikes.brier:#.3g}"))
    return {
        name: [
            cell(score) if (score := evaluation.find_distribution(forecaster, regime, horizon)) else _UNKNOWN
            for horizon in evaluation.horizons
        ]
        for name, (forecaster, cell) in rows.items()
    }


def _coverage(percent: int) -> Cell:
    return lambda score: f"{score.coverage[percent]:.1%}"


def _of_spikes(cell: Callable[[SpikeScore], str]) -> Cell:
    return lambda score: cell(score.spikes) if score.spikes else _UNKNOWN
