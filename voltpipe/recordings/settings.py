"""Settings of conditioning and of quality checks."""

from enum import StrEnum

from pydantic import Field

from voltpipe.schema import Settings


class Profile(StrEnum):
    """Filtering before the z-score."""

    MEMBRANE = "membrane"
    """No filter: membrane potentials, and other voltages that are forecast as recorded."""
    SPIKES = "spikes"
    """Band-pass at the rate of the recording."""
    LFP = "lfp"
    """Low-pass and resampling."""


class ConditioningSettings(Settings):
    """Trimming, filtering, channel selection and calibration of a recording."""

    profile: Profile = Field(
        Profile.MEMBRANE,
        description="Filter: membrane (no filter), spikes (band-pass), or lfp (low-pass and resampling).",
    )
    trim_ms: float = Field(800.0, ge=0, le=3_600_000, description="Time cut off at the beginning, in ms.")
    calibration_s: float = Field(
        2.0,
        ge=0.1,
        le=3600,
        description="Length of the calibration span after trimming, in s. "
        "Each channel's mean and SD are computed from it.",
    )
    minimum_s: float = Field(
        3.0,
        ge=0.1,
        le=86_400,
        description="Minimum duration after trimming and blanking, in s. Shorter recordings are quarantined.",
    )
    spikes_lowest_hz: float = Field(
        300.0, ge=1, le=1000, description="With the profile spikes: lower edge of the pass band, in Hz."
    )
    spikes_highest_hz: float = Field(
        3000.0, ge=1500, le=20_000, description="With the profile spikes: upper edge of the pass band, in Hz."
    )
    lfp_rate_hz: float = Field(1000.0, ge=50, le=5000, description="With the profile lfp: new sampling rate, in Hz.")
    lfp_passband_share: float = Field(
        0.6,
        ge=0.2,
        le=0.9,
        description="With the profile lfp: edge of the pass band, as a fraction of the new Nyquist frequency.",
    )
    common_reference: bool = Field(
        False,
        description="Subtract the median across channels. This also removes bursts that reach all electrodes, "
        "as they do in cultures.",
    )
    keep_channels: tuple[str, ...] = Field((), description="Names of the channels to keep; all by default.")
    exclude_bad_channels: bool = Field(
        False,
        description="Leave out channels that are flat, dead or much noisier than others in the calibration span.",
    )
    bad_channel_ratio: float = Field(
        5.0,
        gt=1,
        description="A channel is bad if its noise (MAD) is more than this many times larger or smaller than that "
        "of the median channel.",
    )
    channel_count: int | None = Field(
        None,
        ge=1,
        description="Keep only this many channels: those with the largest peak-to-noise ratio in the calibration span.",
    )
    saturation_mv: float | None = Field(
        None,
        gt=0,
        description="Absolute voltage at which the amplifier saturates, in mV. By default, saturation is not detected.",
    )
    saturated_share: float = Field(
        0.1, gt=0, le=1, description="Leave out samples at which at least this fraction of channels is saturated."
    )
    blanking_margin_ms: float = Field(
        5.0, ge=0, le=10_000, description="Time left out after each stimulation or saturation, in ms."
    )

    def first_sample(self, rate_hz: float) -> int:
        """Return the first sample after trimming."""
        return round(self.trim_ms * rate_hz / 1000)

    def calibration_samples(self, rate_hz: float) -> int:
        """Return the number of samples in the calibration span."""
        return round(self.calibration_s * rate_hz)

    def least_samples(self, rate_hz: float) -> int:
        """Return the minimum number of samples of a raw recording."""
        return self.first_sample(rate_hz) + round(self.least_kept_s * rate_hz)

    @property
    def least_kept_s(self) -> float:
        """Minimum duration of a conditioned recording, in s."""
        return max(self.minimum_s, self.calibration_s)


class QualitySettings(Settings):
    """Limits at which a recording gets a warning or is refused."""

    clipped_share_doubted: float = Field(
        0.001, ge=0, le=1, description="Fraction of clipped samples in a channel that causes a warning."
    )
    clipped_share_refused: float = Field(
        0.05, ge=0, le=1, description="Fraction of clipped samples in a channel that is refused."
    )
    least_rate_hz: float = Field(100.0, gt=0, description="Lowest plausible sampling rate, in Hz.")
    highest_rate_hz: float = Field(100_000.0, gt=0, description="Highest plausible sampling rate, in Hz.")
    check_unit_range: bool = Field(
        True, description="Refuse voltages that seem to be in another unit. Switch off only for unusual preparations."
    )
    hum_share_doubted: float = Field(
        0.05, gt=0, le=1, description="Fraction of a channel's variance at 50 or 60 Hz that causes a warning."
    )
    drift_sd_doubted: float = Field(
        3.0,
        gt=0,
        description="Drift of a channel's mean from its calibration, in SDs, that causes a warning.",
    )
    dropped_share_refused: float = Field(
        0.05, ge=0, le=1, description="Fraction of missing samples, as shown by time stamps, that is refused."
    )
