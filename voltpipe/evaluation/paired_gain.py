"""Gain of one forecaster over another on the same targets, with bounds.

The unit of the bootstrap is the recording. Windows of one recording overlap and resemble each other, so they say
nothing about the next recording.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtrit

from voltpipe.evaluation.bootstrap import times_drawn
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import Evaluation

_RESAMPLES = 2000
ERROR_RATE = 0.025
"""Error rate of each bound: the two bounds are a 95 % interval."""


@dataclass(frozen=True)
class PairedGain:
    """Gain of R2, averaged over horizons, with one-sided bounds."""

    gain: float
    n_recordings: int
    lower: float | None
    """Lower bound: the true gain is below it at most at the error rate; None for a single recording."""
    upper: float | None
    """Upper bound: the true gain is above it at most at the error rate; None for a single recording."""


def paired_gain(
    squared_error_mv2: Float64[np.ndarray, "recording horizon"],
    other_squared_error_mv2: Float64[np.ndarray, "recording horizon"],
    total_mv2: Float64[np.ndarray, "recording horizon"],
    *,
    error_rate: float,
) -> PairedGain:
    """Return the gain in pooled R2 over another forecaster, with bounds by a paired bootstrap over recordings.

    The bounds are one-sided, t standard errors from the gain. The standard error is that of the bootstrap, times
    sqrt(n / (n - 1)), because n recordings vary less about their own mean than about the true one. t is Student's
    quantile with n - 1 degrees of freedom. Percentiles of the bootstrap would be too narrow: with three recordings, all
    three favor a forecaster that is no better in one of eight cases. See Efron and Tibshirani, An Introduction to the
    Bootstrap (1993), sections 12.2 and 12.5.

    Args:
        squared_error_mv2: the forecaster's sums of squared errors.
        other_squared_error_mv2: the other forecaster's sums of squared errors, on the same targets.
        total_mv2: sums of squares of these targets about the training mean.
        error_rate: how often the true gain may lie beyond each bound.
    """
    n_recordings = len(total_mv2)
    less_mv2 = other_squared_error_mv2 - squared_error_mv2
    gain = float((less_mv2.sum(0) / total_mv2.sum(0)).mean())
    if n_recordings < 2:
        return PairedGain(gain, n_recordings, None, None)
    drawn = times_drawn(n_recordings, _RESAMPLES)
    resampled = ((drawn @ less_mv2) / (drawn @ total_mv2)).mean(1)
    standard_error = resampled.std() * np.sqrt(n_recordings / (n_recordings - 1))
    reach = float(standard_error * stdtrit(n_recordings - 1, 1 - error_rate))
    return PairedGain(gain, n_recordings, gain - reach, gain + reach)


def gain_over_baseline(evaluation: Evaluation, baseline: str, regime: Regime, horizon: int) -> PairedGain | None:
    """Return the gain of R2 over a baseline, paired over recordings; None if either has no errors at the horizon."""
    own, total = _by_recording(evaluation, evaluation.forecaster, regime, horizon)
    other, _ = _by_recording(evaluation, baseline, regime, horizon)
    if not own or own.keys() != other.keys():
        return None
    return paired_gain(*(np.array([[of[key]] for key in own]) for of in (own, other, total)), error_rate=ERROR_RATE)


def _by_recording(
    evaluation: Evaluation, forecaster: str, regime: Regime, horizon: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return SSE and SST in mV squared, each by recording."""
    squared: dict[str, float] = {}
    total: dict[str, float] = {}
    for errors in evaluation.by_recording:
        if errors.forecaster == forecaster and errors.regime is regime and horizon in errors.horizons:
            row = errors.horizons.index(horizon)
            squared[errors.recording] = squared.get(errors.recording, 0.0) + errors.squared_error_mv2[row]
            total[errors.recording] = total.get(errors.recording, 0.0) + errors.total_mv2[row]
    return squared, total
