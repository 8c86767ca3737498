"""Settings of live skill, decay and drift. Imports nothing heavy, for use in asset definitions."""

from pydantic import Field

from voltpipe.schema import Settings


class DecaySettings(Settings):
    """Settings that decide when skill has decayed."""

    recent_recordings: int = Field(
        3, ge=1, le=1000, description="Number of an organoid's latest recordings whose scores are averaged."
    )
    decay_bound: float = Field(
        0.02, gt=0, le=1, description="Largest accepted drop of mean R2 below that on held-out recordings."
    )


class DriftSettings(Settings):
    """Bounds beyond which a recording has drifted from the training recordings."""

    mean_shift_sd: float = Field(
        0.5,
        gt=0,
        description="Largest accepted shift of a channel's mean from that in training, in SDs of the channel.",
    )
    sd_ratio: float = Field(
        1.5, gt=1, description="Largest accepted factor between a channel's SD and that in training, up or down."
    )
    rate_ratio: float = Field(
        2.0,
        gt=1,
        description="Largest accepted factor between a channel's spike rate and that in training, up or down.",
    )
    drifted_share: float = Field(
        0.2, gt=0, lt=1, description="Largest accepted share of channels that exceed any of the bounds."
    )


class LiveSkillSettings(DecaySettings, DriftSettings):
    """Settings of live skill."""

    every_samples: int = Field(15, ge=1, description="Interval between scored windows, in samples.")
