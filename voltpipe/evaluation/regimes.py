"""What can be held out. Regimes are reported apart, and never mixed."""

from enum import StrEnum

ADAPTATION_MS = 7200.0
"""How much of its own past an organoid that was never seen is adapted to, where it is."""


class Regime(StrEnum):
    """What a forecaster knew of what it is scored on, the least first."""

    TEST = "test"
    """Recordings of which nothing was seen in training, of organoids that were."""
    ZERO_SHOT = "zero_shot"
    """Recordings of organoids never seen; nothing is known of them but each window."""
    ADAPTED = "adapted"
    """The same recordings after a while, once what is the organoid's own was estimated from their beginning."""
    TIME = "time"
    """The end of recordings whose beginning was seen in training."""
