"""Do voltages look like voltages in mV, or like another unit's?

Membrane potentials have a negative mean, and vary by at most 40 mV (SD): trains of action potentials and the steps of
a current clamp reach 30 mV. Extracellular signals vary by 0.5 uV to 5 mV.
A factor of 1e3 within the extracellular range cannot be told from the numbers alone.
"""

import numpy as np
from jaxtyping import Bool, Float

_MEMBRANE_MEAN_MV = (-100.0, -20.0)
_MEMBRANE_SD_MV = 40.0
_EXTRACELLULAR_SD_MV = (0.3e-3, 5.0)
"""0.5 uV peak is an SD of 0.35 uV in a sine."""
_FACTORS = (1e3, 1e6, 1e-3, 1e-6)


def is_plausible(
    mean_mv: Float[np.ndarray, " channel"], sd_mv: Float[np.ndarray, " channel"]
) -> Bool[np.ndarray, " channel"]:
    """Which channels could be a membrane potential or an extracellular voltage in mV."""
    return np.asarray(_is_membrane(mean_mv, sd_mv) | _is_extracellular(sd_mv))


def likely_factor(mean_mv: Float[np.ndarray, " channel"], sd_mv: Float[np.ndarray, " channel"]) -> float | None:
    """By what the numbers must be multiplied to be plausible mV: 1 where they are, None where no unit explains them."""
    if _is_membrane(mean_mv, sd_mv).mean() >= 0.5:
        return 1.0
    # Membrane potentials in V vary as little as extracellular voltages do, but their negative mean, alike in nearly
    # all channels, tells.
    for factor in (1e3, 1e6):
        if (_is_membrane(mean_mv * factor, sd_mv * factor) & (-mean_mv > 3 * sd_mv)).mean() >= 0.9:
            return factor
    for factor in (1.0, *_FACTORS):
        if is_plausible(mean_mv * factor, sd_mv * factor).mean() >= 0.5:
            return factor
    return None


def _is_membrane(
    mean_mv: Float[np.ndarray, " channel"], sd_mv: Float[np.ndarray, " channel"]
) -> Bool[np.ndarray, " channel"]:
    mean_fits = (mean_mv >= _MEMBRANE_MEAN_MV[0]) & (mean_mv <= _MEMBRANE_MEAN_MV[1])
    return np.asarray(mean_fits & (sd_mv <= _MEMBRANE_SD_MV))


def _is_extracellular(sd_mv: Float[np.ndarray, " channel"]) -> Bool[np.ndarray, " channel"]:
    return np.asarray((sd_mv >= _EXTRACELLULAR_SD_MV[0]) & (sd_mv <= _EXTRACELLULAR_SD_MV[1]))
