"""What `voltpipe rollback` and `voltpipe history` do."""

from voltpipe.lake import Lake
from voltpipe.tracking.promotion import roll_back
from voltpipe.tracking.store import TrackingStore
from voltpipe.tracking.trail import Trail, person


def roll_back_champion(lake: Lake, version: str | None, why: str) -> str:
    """Roll back; returns what happened as text.

    Raises:
        TrackingError: there is nothing to roll back to, with the versions there are.
    """
    return roll_back(TrackingStore.of(lake), to=version, who=person(), why=why).line


def history(lake: Lake) -> str:
    """Every promotion, refusal and roll-back, the oldest first."""
    lines = [entry.line for entry in Trail.of(TrackingStore.of(lake)).entries()]
    return "\n".join(lines) or "no version was put before the gate yet; `voltpipe train` makes one"
