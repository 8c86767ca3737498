"""What a conditioned recording says of itself, so that its mV can always be restored and its origin told."""

from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.settings import Settings


class Provenance(Settings):
    """What a conditioned recording says of itself, but for its samples."""

    organoid: str
    recording: str
    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    positions_um: tuple[tuple[float, ...], ...] | None = None
    """Where each channel's electrode lies (x, y, perhaps z); None where nobody said."""
    mean_mv: tuple[float, ...]
    sd_mv: tuple[float, ...]
    first_sample: int
    """The sample of the raw recording that is the first one here."""
    calibration_samples: int
    """Mean and SD are of this many samples from the beginning."""
    segment_starts: tuple[int, ...]
    stretches: tuple[tuple[int, int], ...]
    """Half-open ranges of the raw recording's samples that the segments are made of, one each; the rest is left out."""
    source_rate_hz: float
    """The raw recording's rate."""
    steps: tuple[str, ...]
    """What was done to the voltage before it was z-scored, in words, in order."""
    settings: ConditioningSettings
    source_digest: str
    """SHA-256 of the raw file."""
    facts: dict[str, str | int | float]
    software_version: str


class ConditionedMetadata(Provenance):
    """The JSON in a conditioned recording's schema metadata."""

    n_samples: int
    samples_digest: str
    """SHA-256 of the z-scored samples: alike for recordings of the same samples, whatever their files."""
