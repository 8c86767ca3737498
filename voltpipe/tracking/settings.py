"""What the gate asks for. Imports neither MLflow nor torch, so that the wiring can name it."""

from pydantic import Field

from voltpipe.settings import Settings


class GateSettings(Settings):
    """What a candidate must show to become champion."""

    margin: float = Field(0.0, ge=0, le=1, description="how much mean R2 must lie above the champion's, without unit")
    horizons_samples: tuple[int, ...] | None = Field(
        None, min_length=1, description="horizons at which baselines must be beaten, in samples; all if not given"
    )
