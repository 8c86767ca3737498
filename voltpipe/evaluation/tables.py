"""Scores as tables: a frame for those who compute, text for those who read."""

import pandas as pd

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.labels import (
    CEILING,
    OBSERVABLE_CEILING,
    PUBLISHED_WARNING,
    duration_label,
    forecaster_label,
    regime_label,
)
from voltpipe.evaluation.regimes import Regime
from voltpipe.windows.settings import Protocol


def score_table(evaluation: Evaluation, regime: Regime) -> pd.DataFrame:
    """R2 in one regime: a row for the forecaster, each baseline and each ceiling, a column a horizon ("5 ms").

    NaN stands where a forecaster does not forecast, or where the ceiling is not known.
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
    """The tables of all regimes in Markdown that is as legible unrendered, in a terminal."""
    protocol = evaluation.provenance.protocol
    parts = [PUBLISHED_WARNING] if protocol == Protocol.PUBLISHED else []
    for regime in evaluation.regimes:
        n_targets = evaluation.score(evaluation.forecaster, regime, evaluation.horizons[0]).n_targets
        parts.append(f"R2 on {regime_label(regime, protocol)} ({n_targets:,} targets at each horizon)")
        parts.append(markdown(score_table(evaluation, regime).map(lambda r2: "" if pd.isna(r2) else f"{r2:.3f}")))
    return "\n\n".join(parts)


def markdown(table: pd.DataFrame) -> str:
    """A table of texts in Markdown that is as legible unrendered."""
    rows = [["", *table.columns], *([name, *cells] for name, *cells in table.itertuples())]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    rows.insert(1, ["-" * first, *("-" * (width - 1) + ":" for width in widths)])
    return "\n".join(
        f"| {name.ljust(first)} | " + " | ".join(map(str.rjust, cells, widths)) + " |" for name, *cells in rows
    )
