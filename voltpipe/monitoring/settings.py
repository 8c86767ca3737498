"""Settings of live skill, decay and drift. Imports nothing heavy, so that asset definitions can name it."""

from pydantic import Field

from voltpipe.schema import Settings


class DecaySettings(Settings):
    """Bounds beyond which skill counts as decayed."""

    recent_recordings: int = Field(
        3, ge=1, le=1000, description="how many of an organoid's latest recordings are judged together"
    )
    decay_bound: float = Field(
        0.02, gt=0, le=1, description="how far mean R2 on them may lie below that on held-out recordings"
    )


class DriftSettings(Settings):
    """Bounds beyond which a recording counts as drifted from the training recordings."""

    mean_shift_sd: float = Field(0.5, gt=0, description="how far a channel's mean may move, in its SDs")
    sd_ratio: float = Field(1.5, gt=1, description="by what factor its SD may change, either way")
    rate_ratio: float = Field(2.0, gt=1, description="likewise its rate of spikes")
    drifted_share: float = Field(0.2, gt=0, lt=1, description="what share of channels may exceed any of these bounds")


class LiveSkillSettings(DecaySettings, DriftSettings):
    """Settings of live skill."""

    every_samples: int = Field(15, ge=1, description="from one scored window of a recording to the next, in samples")
