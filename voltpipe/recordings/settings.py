"""How raw recordings are conditioned, and what is demanded of them."""

from enum import StrEnum

from pydantic import Field

from voltpipe.schema import Settings


class Profile(StrEnum):
    """What is made of the voltage before it is z-scored."""

    MEMBRANE = "membrane"
    """Nothing: membrane potentials, and whatever is to be forecast as it was recorded."""
    SPIKES = "spikes"
    """Band-passed at the recording's own rate."""
    LFP = "lfp"
    """Low-passed and resampled."""


class ConditioningSettings(Settings):
    """What is kept of a recording, how it is filtered, and where its z-score comes from."""

    profile: Profile = Field(
        Profile.MEMBRANE, description="membrane (as recorded), spikes (band-pass) or lfp (low-pass, resampled)"
    )
    trim_ms: float = Field(800.0, ge=0, le=3_600_000, description="cut off at the beginning, in ms")
    calibration_s: float = Field(
        2.0, ge=0.1, le=3600, description="the span after trimming that mean and SD are taken from, in s"
    )
    minimum_s: float = Field(3.0, ge=0.1, le=86_400, description="least length after trimming and blanking, in s")
    spikes_lowest_hz: float = Field(300.0, ge=1, le=1000, description="profile spikes: lower edge of the band, in Hz")
    spikes_highest_hz: float = Field(
        3000.0, ge=1500, le=20_000, description="profile spikes: upper edge of the band, in Hz"
    )
    lfp_rate_hz: float = Field(1000.0, ge=50, le=5000, description="profile lfp: the new sampling rate, in Hz")
    lfp_passband_share: float = Field(
        0.6, ge=0.2, le=0.9, description="profile lfp: share of the frequencies up to half the new rate that pass whole"
    )
    common_reference: bool = Field(
        False, description="subtract the channels' median; not for cultures, whose bursts are common to all electrodes"
    )
    keep_channels: tuple[str, ...] = Field((), description="names of the channels to keep; all if none is named")
    exclude_bad_channels: bool = Field(
        False, description="leave out channels that are flat, dead or noisy in the calibration span"
    )
    bad_channel_ratio: float = Field(
        5.0,
        gt=1,
        description="noise (MAD), as a multiple or fraction of the median channel's, that makes a bad channel",
    )
    channel_count: int | None = Field(
        None, ge=1, description="keep this many channels: those with the largest peaks over noise in calibration"
    )
    saturation_mv: float | None = Field(
        None, gt=0, description="size of voltage from which on an amplifier counts as saturated, in mV; none if not set"
    )
    saturated_share: float = Field(
        0.1, gt=0, le=1, description="share of the channels in saturation from which on a stretch is left out"
    )
    blanking_margin_ms: float = Field(
        5.0, ge=0, le=10_000, description="left out after each stimulation and saturation, in ms"
    )

    def first_sample(self, rate_hz: float) -> int:
        """The first sample that is not trimmed."""
        return round(self.trim_ms * rate_hz / 1000)

    def calibration_samples(self, rate_hz: float) -> int:
        """Samples of the calibration span."""
        return round(self.calibration_s * rate_hz)

    def least_samples(self, rate_hz: float) -> int:
        """Samples that a raw recording must have."""
        return self.first_sample(rate_hz) + round(self.least_kept_s * rate_hz)

    @property
    def least_kept_s(self) -> float:
        """Length that a conditioned recording must have, in s."""
        return max(self.minimum_s, self.calibration_s)


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
    hum_share_doubted: float = Field(
        0.05, gt=0, le=1, description="share of a channel's variance at 50 or 60 Hz that is warned of"
    )
    drift_sd_doubted: float = Field(
        3.0,
        gt=0,
        description="how far a channel's mean may wander from its calibration, in SDs, before it is warned of",
    )
    dropped_share_refused: float = Field(
        0.05, ge=0, le=1, description="share of samples that time stamps show to be missing that is refused"
    )
