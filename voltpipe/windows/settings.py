"""Settings of splits and windows."""

from enum import StrEnum

from pydantic import Field, field_validator

from voltpipe.schema import Settings


class Protocol(StrEnum):
    """Rules that decide what is held out."""

    HELD_OUT = "held_out"
    """Whole recordings and the end of the training recordings are held out; nothing is shared between splits."""
    PUBLISHED = "published"
    """Rules of the proof of concept: recordings are concatenated, and windows are shuffled before splitting.

    Training and test windows overlap, so these scores compare only with those of the proof of concept."""


class HoldOut(StrEnum):
    """Unit that is held out as a whole."""

    RECORDINGS = "recordings"
    """Some recordings of each organoid. Tests forecasts of known organoids."""
    ORGANOIDS = "organoids"
    """Some organoids with all their recordings. Tests forecasts of unseen organoids."""


class WindowSettings(Settings):
    """Shape of a window, and fractions of the data that are held out."""

    protocol: Protocol = Field(Protocol.HELD_OUT, description="Rules that decide which windows are held out.")
    context_samples: int = Field(150, ge=2, le=10_000, description="History in a window, in samples.")
    stride_samples: int = Field(
        15, ge=1, le=10_000, description="Distance between the starts of two windows, in samples."
    )
    horizons_samples: tuple[int, ...] = Field(
        (1, 2, 3, 5, 10, 20), min_length=1, description="Horizons of the targets, in samples, ascending."
    )
    hold_out: HoldOut = Field(
        HoldOut.RECORDINGS, description="Hold out recordings of each organoid, or whole organoids."
    )
    validation_fraction: float = Field(0.15, gt=0, lt=0.5, description="Fraction of these used for validation.")
    test_fraction: float = Field(0.15, gt=0, lt=0.5, description="Fraction of these held out for testing.")
    time_fraction: float = Field(
        0.15, gt=0, lt=0.5, description="Fraction held out at the end of each training recording."
    )

    @field_validator("horizons_samples")
    @classmethod
    def _ascending(cls, horizons: tuple[int, ...]) -> tuple[int, ...]:
        if horizons[0] < 1 or list(horizons) != sorted(set(horizons)):
            raise ValueError(f"The horizons are {horizons}. Expected ascending, distinct samples of at least 1.")
        return horizons

    @property
    def window_samples(self) -> int:
        """Number of samples from the start of a window to its last target."""
        return self.context_samples + self.horizons_samples[-1]
