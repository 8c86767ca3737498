"""What every group of settings has in common.

A setting is defined once, in the package that uses it: its default, bounds, unit and meaning stand in one
frozen model. Dagster's launchpad, the command line and MLflow's parameters are derived from these models.
"""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

S = TypeVar("S", bound="Settings")

_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


class FrozenModel(BaseModel):
    """A frozen record: unknown keys, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Settings(FrozenModel):
    """A frozen group of settings: unknown keys and values out of bounds are refused."""

    def part(self, group: type[S]) -> S:
        """Those of these settings that came from one of the groups they were put together from."""
        return group.model_validate(self.model_dump(include=set(group.model_fields)))


def setting_help(field: FieldInfo) -> str:
    """What a setting means, with its bounds."""
    bounds = [
        f"{sign} {value:g}"
        for part in field.metadata
        for name, sign in _BOUNDS
        if (value := getattr(part, name, None)) is not None
    ]
    return f"{field.description} ({', '.join(bounds)})" if bounds else str(field.description)
