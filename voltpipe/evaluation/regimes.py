"""Regimes: held-out conditions, which are reported separately and never mixed."""

from enum import StrEnum

ADAPTATION_MS = 7200.0
"""Duration of the beginning of a recording that a forecaster is adapted to, in ms, if the organoid was never seen."""


class Regime(StrEnum):
    """Held-out condition. The order is by what the forecaster knew of the recordings, least first."""

    TEST = "test"
    """Recordings that were not seen in training, from organoids that were."""
    ZERO_SHOT = "zero_shot"
    """Recordings of organoids never seen; only the window itself is known."""
    ADAPTED = "adapted"
    """Later part of recordings of organoids never seen, after adaptation to their first `ADAPTATION_MS`."""
    TIME = "time"
    """End of recordings whose beginning was seen in training."""
