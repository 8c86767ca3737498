"""Units of voltage, and plausibility of voltages in mV. A missing or unknown unit is refused, never guessed."""

import math

import numpy as np
from jaxtyping import Bool, Float

from voltpipe.recordings.recording import RecordingError

_MV_PER_SYMBOL = {
    "V": 1e3,
    "mV": 1.0,
    "uV": 1e-3,
    "\N{MICRO SIGN}V": 1e-3,
    "\N{GREEK SMALL LETTER MU}V": 1e-3,
    "nV": 1e-6,
    "pV": 1e-9,
}
# "MV" may be a megavolt, so prefixes keep their case. All lower case is unambiguous.
_MV_PER_LOWER_CASE = {symbol.lower(): factor for symbol, factor in _MV_PER_SYMBOL.items()} | {
    f"{prefix}volt{plural}": factor
    for prefix, factor in {"": 1e3, "milli": 1.0, "micro": 1e-3, "nano": 1e-6, "pico": 1e-9}.items()
    for plural in ("", "s")
}


def is_voltage_unit(text: str) -> bool:
    """Return whether `mv_per_unit` knows a unit."""
    return _lookup(text) is not None


def mv_per_unit(text: str | None) -> float:
    """Return the factor from a unit to mV.

    Raises:
        RecordingError: the unit is missing or unknown.
    """
    if text is None:
        raise RecordingError(
            "The unit of the voltages is not known. Give it with the hint `unit` (V, mV, uV, nV or pV).",
            code="unit-missing",
        )
    factor = _lookup(text)
    if factor is None:
        raise RecordingError(
            f"Unit {text!r} is not known. Expected V, mV, uV, nV or pV. Give it with the hint `unit`.",
            code="unit-unknown",
        )
    return factor


def unit_of(factor: float) -> str | None:
    """Return the unit with this factor to mV; None if there is none."""
    return next((unit for unit in ("V", "mV", "uV", "nV", "pV") if math.isclose(_MV_PER_SYMBOL[unit], factor)), None)


def _lookup(text: str) -> float | None:
    text = text.strip()
    if text in _MV_PER_SYMBOL:
        return _MV_PER_SYMBOL[text]
    # "Volts" is as clear as "volts".
    spelled_out = text.lower() if len(text) > 2 else text
    return _MV_PER_LOWER_CASE.get(spelled_out)


_MEMBRANE_MEAN_MV = (-100.0, -20.0)
_MEMBRANE_SD_MV = 40.0
_EXTRACELLULAR_SD_MV = (0.3e-3, 5.0)
"""The lower limit is that of a sine with a peak of about 0.5 uV."""
_FACTORS = (1e3, 1e6, 1e-3, 1e-6)


def is_plausible(
    mean_mv: Float[np.ndarray, " channel"], sd_mv: Float[np.ndarray, " channel"]
) -> Bool[np.ndarray, " channel"]:
    """Mark the channels that could be membrane potentials or extracellular voltages in mV."""
    return np.asarray(_is_membrane(mean_mv, sd_mv) | _is_extracellular(sd_mv))


def likely_factor(mean_mv: Float[np.ndarray, " channel"], sd_mv: Float[np.ndarray, " channel"]) -> float | None:
    """Return the factor that makes the numbers plausible mV: 1 if they are, None if no unit explains them."""
    if _is_membrane(mean_mv, sd_mv).mean() >= 0.5:
        return 1.0
    # Membrane potentials in V vary as little as extracellular voltages, but have a negative mean.
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
