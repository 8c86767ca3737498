"""Settings of promotion, reproduction, retention and a missing champion.

This module imports neither MLflow nor torch, so that Dagster's definitions load fast.
"""

from enum import StrEnum

from pydantic import Field

from voltpipe.forecasting.settings import Device
from voltpipe.schema import Settings


class PromotionSettings(Settings):
    """Requirements that a candidate must meet to become champion."""

    margin: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Margin that the lower bound of the gain in mean R2 over the champion must exceed (no unit).",
    )
    error_rate: float = Field(
        0.05,
        gt=0,
        le=0.5,
        description="Accepted probability that a candidate whose true gain is within the margin is promoted.",
    )
    lone_gain: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Margin of mean R2 if the comparison set is a single recording, whose uncertainty is unknown.",
    )
    loss_bound: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Largest loss of mean R2 to the champion that is allowed on any organoid or channel type.",
    )
    fresh_recordings: int = Field(
        5,
        ge=1,
        description="Number of recordings made after the champion's training from which on only these are compared.",
    )
    horizons_samples: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="Horizons at which the candidate must beat the baselines, in samples. All horizons if not given.",
    )


class ReproductionSettings(Settings):
    """Device and tolerance of a reproduction."""

    device: Device | None = Field(
        None, description="Device to train on. By default, the device of the original training run."
    )
    r2_tolerance: float = Field(
        0.005,
        ge=0,
        le=1,
        description="Allowed difference in R2 when weights may differ: on a GPU, on another processor, or with other "
        "versions of torch or numpy.",
    )


class RetentionSettings(Settings):
    """Retention periods. Versions with an alias, and those that they began from, are always kept."""

    dry_run: bool = Field(True, description="List what would be removed, and remove nothing.")
    checkpoints_days: float = Field(
        30.0, ge=0, le=36_500, description="Days without a change after which a training's checkpoints are removed."
    )
    window_sets_days: float = Field(
        30.0,
        ge=0,
        le=36_500,
        description="Days without a change after which a window set is removed. It can be built again.",
    )
    keep_versions: int = Field(
        20, ge=1, le=1_000_000, description="Number of newest versions that are kept with their runs, at any age."
    )
    versions_days: float = Field(
        365.0, ge=0, le=36_500, description="Age in days after which other versions are removed with their runs."
    )


class WithoutChampion(StrEnum):
    """Behavior if the champion's version was deleted in MLflow."""

    PREVIOUS = "previous"
    """Use the previous champion, with a warning."""
    REFUSE = "refuse"
    """Refuse to forecast."""


class ChampionSettings(Settings):
    """Behavior without a champion."""

    without_champion: WithoutChampion = Field(
        WithoutChampion.PREVIOUS,
        description="What to do if the champion was deleted in MLflow: use the previous champion, or refuse.",
    )
