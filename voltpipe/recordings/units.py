"""What a unit's name means in mV. Nothing is guessed: a unit that is missing or unknown is refused."""

import math

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
# "MV" is a megavolt to some, so letters that stand for a prefix keep their case; wholly lower case is safe.
_MV_PER_LOWER_CASE = {symbol.lower(): factor for symbol, factor in _MV_PER_SYMBOL.items()} | {
    f"{prefix}volt{plural}": factor
    for prefix, factor in {"": 1e3, "milli": 1.0, "micro": 1e-3, "nano": 1e-6, "pico": 1e-9}.items()
    for plural in ("", "s")
}


def is_voltage_unit(text: str) -> bool:
    """Whether `mv_per_unit` knows this unit."""
    return _lookup(text) is not None


def mv_per_unit(text: str | None) -> float:
    """The factor that turns numbers in this unit into mV.

    Raises:
        RecordingError: the unit is missing or unknown.
    """
    if text is None:
        raise RecordingError(
            "the unit of the voltages is not known. Give it with the hint `unit` (V, mV, uV, nV or pV).",
            code="unit-missing",
        )
    factor = _lookup(text)
    if factor is None:
        raise RecordingError(
            f"unit {text!r} is not known. Expected V, mV, uV, nV or pV. Give it with the hint `unit`.",
            code="unit-unknown",
        )
    return factor


def unit_of(factor: float) -> str | None:
    """The unit that `mv_per_unit` has this factor for, None if there is none."""
    return next((unit for unit in ("V", "mV", "uV", "nV", "pV") if math.isclose(_MV_PER_SYMBOL[unit], factor)), None)


def _lookup(text: str) -> float | None:
    text = text.strip()
    if text in _MV_PER_SYMBOL:
        return _MV_PER_SYMBOL[text]
    # "Volts" is as clear as "volts".
    spelled_out = text.lower() if len(text) > 2 else text
    return _MV_PER_LOWER_CASE.get(spelled_out)
