"""Paired gain of one forecaster over another on the same targets, with its interval.

The unit is the recording: windows of one recording overlap and resemble each other, and say nothing about the next
recording.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtrit

from voltpipe.evaluation.bootstrap import times_drawn
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import Evaluation

_RESAMPLES = 2000


@dataclass(frozen=True)
class PairedGain:
    """A gain of R2, averaged over horizons."""

    gain: float
    n_recordings: int
    lower: float | None
    """The true gain lies below this at most as often as the error rate says; None for a single recording."""
    upper: float | None
    """Upper bound of a tie."""


def paired_gain(
    squared_error_mv2: Float64[np.ndarray, "recording horizon"],
    other_squared_error_mv2: Float64[np.ndarray, "recording horizon"],
    total_mv2: Float64[np.ndarray, "recording horizon"],
    *,
    error_rate: float,
) -> PairedGain:
    """The gain in pooled R2 over another forecaster, with one-sided bounds by a paired bootstrap over recordings.

    A bound lies t standard errors from the gain. The standard error is that of the bootstrap, widened by
    sqrt(n / (n - 1)) as n recordings vary less about their own mean than about the true one; t is Student's quantile
    with n - 1 degrees of freedom. Percentiles of the bootstrap would be too bold: with three recordings, all three
    are in favour of a forecaster that is no better once in eight times. See Efron and Tibshirani, An Introduction to
    the Bootstrap (1993), sections 12.2 and 12.5.

    Args:
        squared_error_mv2: the forecaster's sums of squared errors.
        other_squared_error_mv2: the other's, on the same targets.
        total_mv2: sums of squares of these targets about the training mean.
        error_rate: how often the true gain may lie beyond a bound.
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


ERROR_RATE = 0.025
"""Probability of each bound. Together they give a 95 % interval."""


def gain_over_baseline(evaluation: Evaluation, baseline: str, regime: Regime, horizon: int) -> PairedGain | None:
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
