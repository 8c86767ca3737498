"""What all figures of an evaluation have in common."""

from pydantic import BaseModel, ConfigDict


class Facts(BaseModel):
    """Frozen figures; NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
