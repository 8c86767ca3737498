"""What a recording is to everything that comes after the file formats."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from voltpipe.errors import VoltpipeError

FILTERED_FACT = "filtered_as"
"""The fact that names the profile by which voltpipe filtered a voltage before it wrote the file."""


class RecordingError(VoltpipeError):
    """A raw recording that cannot be trusted, with the reason; it goes to quarantine."""


@runtime_checkable
class Recording(Protocol):
    """The voltage of several channels over time, read lazily.

    Samples are counted from 0 to `n_samples`; a gap in time takes no samples, but begins a new segment.
    """

    @property
    def rate_hz(self) -> float:
        """Samples a second."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """One name a channel, all different."""

    @property
    def channel_types(self) -> tuple[str, ...]:
        """What each channel records ("excitatory", "inhibitory", "electrode", ...), "unknown" where nobody said."""

    @property
    def n_samples(self) -> int:
        """Samples of each channel."""

    @property
    def segment_starts(self) -> tuple[int, ...]:
        """The first sample of each stretch without a gap in time; begins with 0."""

    @property
    def positions_um(self) -> Float64[np.ndarray, "channel axis"] | None:
        """Where each channel's electrode lies (x, y, perhaps z), in um; None where nobody said."""

    @property
    def facts(self) -> Mapping[str, str | int | float]:
        """What the file and its sidecar say besides: format, preparation, condition, seeds."""

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """The samples of the half-open range [start_sample, stop_sample) in mV.

        Raises:
            RecordingError: the file cannot be read there.
        """
