"""Base classes of stored records and of settings.

A setting is defined once, in the package that uses it: a frozen model holds its default, bounds, unit and meaning.
Dagster's launchpad, the command line and MLflow's parameters are derived from these models.
"""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

S = TypeVar("S", bound="Settings")

_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


class FrozenModel(BaseModel):
    """A frozen record. Unknown keys, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Settings(FrozenModel):
    """A frozen group of settings. Unknown keys and values out of bounds are refused."""

    def part(self, group: type[S]) -> S:
        """Return the fields that belong to `group`, one of the groups that this one combines."""
        return group.model_validate(self.model_dump(include=set(group.model_fields)))


def setting_help(field: FieldInfo) -> str:
    """Return the description of a setting, with its bounds."""
    bounds = [
        f"{sign} {value:g}"
        for constraint in field.metadata
        for name, sign in _BOUNDS
        if (value := getattr(constraint, name, None)) is not None
    ]
    return f"{field.description} ({', '.join(bounds)})" if bounds else str(field.description)
