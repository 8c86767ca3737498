"""The bootstrap that all intervals of an evaluation share."""

import numpy as np
from jaxtyping import Int64

_SEED = 0
"""Fixed, so that the same scores always give the same decision."""


def times_drawn(n_units: int, n_resamples: int) -> Int64[np.ndarray, "resample unit"]:
    """Count how often each unit is drawn in each resample of as many units, with replacement; always the same draws."""
    return np.random.default_rng(_SEED).multinomial(n_units, np.full(n_units, 1 / n_units), n_resamples)
