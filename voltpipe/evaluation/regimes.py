"""Held-out regimes. They are reported apart, and never mixed."""

from enum import StrEnum

ADAPTATION_MS = 7200.0
"""Time from the start of a recording to which a forecaster adapts on an unseen organoid, in ms."""


class Regime(StrEnum):
    """Regime of a score: what the forecaster knew of the recordings, the least first."""

    TEST = "test"
    """Recordings of which nothing was seen in training, of organoids that were."""
    ZERO_SHOT = "zero_shot"
    """Recordings of organoids never seen; nothing is known of them but each window."""
    ADAPTED = "adapted"
    """Unseen recordings, after connectivity was estimated from their beginning."""
    TIME = "time"
    """The end of recordings whose beginning was seen in training."""
