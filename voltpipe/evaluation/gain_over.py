"""How far a forecaster is ahead of a baseline, and how sure that is."""

import numpy as np

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.paired_gain import PairedGain, paired_gain
from voltpipe.evaluation.regimes import Regime

ERROR_RATE = 0.025
"""Of each bound: together they are a 95 % interval."""


def gain_over(evaluation: Evaluation, baseline: str, regime: Regime, horizon: int) -> PairedGain | None:
    """The gain of R2 over a baseline at a horizon, paired over recordings; None if either has no errors there."""
    own, total = _by_recording(evaluation, evaluation.forecaster, regime, horizon)
    other, _ = _by_recording(evaluation, baseline, regime, horizon)
    if not own or own.keys() != other.keys():
        return None
    return paired_gain(*(np.array([[of[key]] for key in own]) for of in (own, other, total)), error_rate=ERROR_RATE)


def _by_recording(
    evaluation: Evaluation, forecaster: str, regime: Regime, horizon: int
) -> tuple[dict[str, float], dict[str, float]]:
    """SSE and SST in mV squared, by recording."""
    squared: dict[str, float] = {}
    total: dict[str, float] = {}
    for errors in evaluation.by_recording:
        if errors.forecaster == forecaster and errors.regime is regime and horizon in errors.horizons:
            row = errors.horizons.index(horizon)
            squared[errors.recording] = squared.get(errors.recording, 0.0) + errors.squared_error_mv2[row]
            total[errors.recording] = total.get(errors.recording, 0.0) + errors.total_mv2[row]
    return squared, total
