"""How raw recordings are conditioned, and what is demanded of them."""

from pydantic import Field

from voltpipe.settings import Settings


class ConditioningSettings(Settings):
    """What is cut off a recording, and where its z-score comes from."""

    trim_ms: float = Field(800.0, ge=0, le=3_600_000, description="cut off at the beginning, in ms")
    calibration_s: float = Field(
        2.0, ge=0.1, le=3600, description="the span after trimming that mean and SD are taken from, in s"
    )
    minimum_s: float = Field(3.0, ge=0.1, le=86_400, description="least length after trimming, in s")

    def first_sample(self, rate_hz: float) -> int:
        """The first sample that is kept."""
        return round(self.trim_ms * rate_hz / 1000)

    def calibration_samples(self, rate_hz: float) -> int:
        """Samples of the calibration span."""
        return round(self.calibration_s * rate_hz)

    def least_samples(self, rate_hz: float) -> int:
        """Samples that a raw recording must have."""
        return self.first_sample(rate_hz) + round(max(self.minimum_s, self.calibration_s) * rate_hz)


class QualitySettings(Settings):
    """From where on a recording is doubted or refused."""

    clipped_share_doubted: float = Field(
        0.001, ge=0, le=1, description="share of a channel's samples held at its extreme that is warned of"
    )
    clipped_share_refused: float = Field(0.05, ge=0, le=1, description="the share that is refused")
    least_rate_hz: float = Field(100.0, gt=0, description="lowest plausible sampling rate in Hz")
    highest_rate_hz: float = Field(100_000.0, gt=0, description="highest plausible sampling rate in Hz")
    check_unit_range: bool = Field(
        True, description="refuse voltages that look like another unit's; switch off only for unusual preparations"
    )
