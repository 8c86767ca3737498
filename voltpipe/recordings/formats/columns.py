"""Headers of voltage tables: the time column, the channels and their unit."""

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
    """Columns of a table by role, with the channel names and the unit from its header."""

    time_column: int | None
    seconds_per_time_unit: float
    voltage_columns: tuple[int, ...]
    channel_names: tuple[str, ...]
    unit: str | None


def read_header(header: Sequence[str]) -> Columns:
    """Find time and voltages in column names such as `time_s`, `time (ms)`, `ch1 (mV)`, `ch1 [uV]`, `ch1_mv`.

    Raises:
        RecordingError: there are two time columns, one without a unit, or voltages in different units.
    """
    names = [name.strip() for name in header]
    times = {i: match["unit"].lower() for i, name in enumerate(names) if (match := _TIME.fullmatch(name))}
    if len(times) > 1:
        raise RecordingError(
            f"Several time columns were found: {', '.join(names[i] for i in times)}. Expected one. Remove the others.",
            code="time-columns-several",
        )
    for name in names:
        if _TIME_WITHOUT_UNIT.fullmatch(name):
            raise RecordingError(
                f"Column {name!r} has no unit. Rename it to time_s or time_ms.", code="time-unit-missing"
            )
    voltages = tuple(i for i in range(len(names)) if i not in times)
    channels = [_name_and_unit(names[i]) for i in voltages]
    units = {unit for _, unit in channels}
    if len(units) > 1:
        stated = ", ".join(sorted(unit or "none" for unit in units))
        raise RecordingError(f"Columns have different units: {stated}. Expected one unit for all.", code="units-differ")
    return Columns(
        time_column=next(iter(times), None),
        seconds_per_time_unit=_SECONDS_PER_UNIT[next(iter(times.values()), "s")],
        voltage_columns=voltages,
        channel_names=tuple(name for name, _ in channels),
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
