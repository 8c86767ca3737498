"""Tables of voltage: which column is time, and which unit the columns' names state."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.units import is_voltage_unit

_TIME = re.compile(r"time[\s_]*[(\[]?(?P<unit>s|ms|us)[)\]]?", re.IGNORECASE)
_SECONDS_PER_UNIT = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_TIME_WITHOUT_UNIT = re.compile(r"t|time|timestamps?", re.IGNORECASE)
_UNIT_IN_BRACKETS = re.compile(r"(?P<name>.*\S)\s*[(\[](?P<unit>[^)\]]+)[)\]]")
_UNIT_AS_SUFFIX = re.compile(r"(?P<name>.+)_(?P<unit>mv|uv|nv)", re.IGNORECASE)


@dataclass(frozen=True)
class Columns:
    """What the header of a table says."""

    time_column: int | None
    seconds_per_time_unit: float
    voltage_columns: tuple[int, ...]
    channel_names: tuple[str, ...]
    unit: str | None


def read_header(header: Sequence[str]) -> Columns:
    """Tell time from voltage in a table's column names: `time_s`, `time (ms)`, `ch1 (mV)`, `ch1 [uV]`, `ch1_mv`.

    Raises:
        RecordingError: two time columns or one without a unit, or columns in different units.
    """
    names = [name.strip() for name in header]
    times = {i: match["unit"].lower() for i, name in enumerate(names) if (match := _TIME.fullmatch(name))}
    if len(times) > 1:
        raise RecordingError(
            f"several time columns: {', '.join(names[i] for i in times)}. Expected one.", code="time-columns-several"
        )
    for name in names:
        if _TIME_WITHOUT_UNIT.fullmatch(name):
            raise RecordingError(
                f"column {name!r} does not say its unit. Name it time_s or time_ms.", code="time-unit-missing"
            )
    voltages = tuple(i for i in range(len(names)) if i not in times)
    parted = [_name_and_unit(names[i]) for i in voltages]
    units = {unit for _, unit in parted}
    if len(units) > 1:
        stated = ", ".join(sorted(unit or "none" for unit in units))
        raise RecordingError(
            f"columns state different units: {stated}. Expected one unit for all.", code="units-differ"
        )
    return Columns(
        time_column=next(iter(times), None),
        seconds_per_time_unit=_SECONDS_PER_UNIT[next(iter(times.values()), "s")],
        voltage_columns=voltages,
        channel_names=tuple(name for name, _ in parted),
        unit=units.pop() if units else None,
    )


def _name_and_unit(column: str) -> tuple[str, str | None]:
    in_brackets = _UNIT_IN_BRACKETS.fullmatch(column)
    if in_brackets and is_voltage_unit(in_brackets["unit"]):
        return in_brackets["name"], in_brackets["unit"].strip()
    as_suffix = _UNIT_AS_SUFFIX.fullmatch(column)
    if as_suffix:
        return as_suffix["name"], as_suffix["unit"].lower()
    return column, None
