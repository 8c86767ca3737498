"""How much better one forecaster is than another on the same targets, and how sure that is.

The unit is the recording: windows of one recording overlap and resemble each other, and say nothing of the next one.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtrit

from voltpipe.evaluation.bootstrap import times_drawn

_RESAMPLES = 2000


@dataclass(frozen=True)
class PairedGain:
    """A gain of R2, averaged over horizons."""

    gain: float
    n_recordings: int
    lower: float | None
    """The true gain lies below this at most as often as the error rate says; None for a single recording."""
    upper: float | None
    """Likewise above this."""


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
