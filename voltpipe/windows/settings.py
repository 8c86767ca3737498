"""How conditioned samples are split and cut into windows."""

from enum import StrEnum

from pydantic import Field, field_validator

from voltpipe.schema import Settings


class Protocol(StrEnum):
    """Which rules decide what is held out."""

    HELD_OUT = "held_out"
    """Whole recordings and the end of the training recordings are held out; nothing is shared between splits."""
    PUBLISHED = "published"
    """The proof of concept's: recordings concatenated, windows across borders, shuffled before splitting.

    Its windows overlap between training and test, so its scores are worth nothing but a comparison with its own."""


class HoldOut(StrEnum):
    """What is held out as a whole."""

    RECORDINGS = "recordings"
    """Of each organoid some recordings: what is asked is how well known tissue is forecast."""
    ORGANOIDS = "organoids"
    """Some organoids with all their recordings: how well tissue is forecast that was never seen."""


class WindowSettings(Settings):
    """The shape of a window, and how much of the data is held out."""

    protocol: Protocol = Field(Protocol.HELD_OUT, description="what decides which windows are held out")
    context_samples: int = Field(150, ge=2, le=10_000, description="history in a window, in samples")
    stride_samples: int = Field(15, ge=1, le=10_000, description="from one window's start to the next, in samples")
    horizons_samples: tuple[int, ...] = Field(
        (1, 2, 3, 5, 10, 20), min_length=1, description="how far ahead the targets lie, in samples, ascending"
    )
    hold_out: HoldOut = Field(HoldOut.RECORDINGS, description="recordings of each organoid, or whole organoids")
    validation_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of these used for validation")
    test_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of these held out for testing")
    time_fraction: float = Field(0.15, gt=0, lt=0.5, description="share of each training recording's end held out")

    @field_validator("horizons_samples")
    @classmethod
    def _ascending(cls, horizons: tuple[int, ...]) -> tuple[int, ...]:
        if horizons[0] < 1 or list(horizons) != sorted(set(horizons)):
            raise ValueError(f"horizons must be ascending, different and at least 1, got {horizons}")
        return horizons

    @property
    def window_samples(self) -> int:
        """Samples that a window and its targets take up."""
        return self.context_samples + self.horizons_samples[-1]
