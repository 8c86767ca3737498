"""Bootstrap draws, shared by all intervals of an evaluation."""

import numpy as np
from jaxtyping import Int64

_SEED = 0
"""Fixed seed: the same scores always give the same decision."""


def times_drawn(n_units: int, n_resamples: int) -> Int64[np.ndarray, "resample unit"]:
    """Count how often each unit is drawn when `n_units` units are drawn with replacement. The draws never change."""
    return np.random.default_rng(_SEED).multinomial(n_units, np.full(n_units, 1 / n_units), n_resamples)
