"""What the gate and a reproduction ask for, and what is done without a champion.

Imports neither MLflow nor torch, so that the wiring can name it.
"""

from enum import StrEnum

from pydantic import Field

from voltpipe.forecasting.settings import Device
from voltpipe.schema import Settings


class PromotionSettings(Settings):
    """What a candidate must show to become champion."""

    margin: float = Field(
        0.001, ge=0, le=1, description="how much mean R2 must lie above the champion's, beyond doubt; without unit"
    )
    error_rate: float = Field(
        0.05, gt=0, le=0.5, description="how often one that is no better than the margin may pass, as a share"
    )
    lone_gain: float = Field(
        0.01,
        ge=0,
        le=1,
        description="the same margin where one recording alone decides, which leaves the doubt unknown",
    )
    loss_bound: float = Field(
        0.01, ge=0, le=1, description="how much mean R2 may lie below the champion's on an organoid or a channel type"
    )
    fresh_recordings: int = Field(
        5, ge=1, description="from so many recordings on that came after the champion's training, they alone decide"
    )
    horizons_samples: tuple[int, ...] | None = Field(
        None, min_length=1, description="horizons at which baselines must be beaten, in samples; all if not given"
    )


class ReproductionSettings(Settings):
    """How a forecaster is made again."""

    device: Device | None = Field(None, description="where to train; the device that it was trained on if not given")
    r2_tolerance: float = Field(
        0.005,
        ge=0,
        le=1,
        description="how far R2 may be off where other bits are to be expected: on a GPU, another processor, or other "
        "versions of torch or numpy",
    )


class RetentionSettings(Settings):
    """What is removed once it has served its time. Champion, previous, challenger and what they began from stay."""

    dry_run: bool = Field(True, description="only say what would go")
    checkpoints_days: float = Field(
        30.0, ge=0, le=36_500, description="checkpoints of a training go once unchanged for so many days"
    )
    window_sets_days: float = Field(
        30.0,
        ge=0,
        le=36_500,
        description="window sets go so many days after they were made; recordings make them again",
    )
    keep_versions: int = Field(
        20, ge=1, le=1_000_000, description="so many versions, the newest, stay with their runs, however old"
    )
    versions_days: float = Field(
        365.0, ge=0, le=36_500, description="other versions go with their runs once so many days old"
    )


class WithoutChampion(StrEnum):
    """What forecasts after the champion's version was deleted in MLflow."""

    PREVIOUS = "previous"
    """The champion before it, with a warning."""
    REFUSE = "refuse"
    """Nothing."""


class ChampionSettings(Settings):
    """How much the champion may be missed."""

    without_champion: WithoutChampion = Field(
        WithoutChampion.PREVIOUS, description="what forecasts if the champion's version was deleted in MLflow"
    )
