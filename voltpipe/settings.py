"""What every group of settings has in common.

A setting is defined once, in the package that uses it: its default, bounds, unit and meaning stand in one
frozen model. Dagster's launchpad, the command line and MLflow's parameters are derived from these models.
"""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys and values out of bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
