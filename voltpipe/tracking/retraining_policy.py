"""When a retraining is due, and why, or why not. Imports neither MLflow nor torch, so that the wiring can name it."""

from collections.abc import Iterator
from enum import StrEnum

from pydantic import Field

from voltpipe.settings import Settings


class RetrainingPolicy(Settings):
    """What makes a retraining due. Whatever it is, something must have come that no training has learned from."""

    min_recordings: int = Field(5, ge=1, le=100_000, description="so many new recordings are enough")
    min_minutes: float = Field(30.0, gt=0, le=1e6, description="so many new minutes are enough, however few recordings")
    nightly: bool = Field(True, description="at night, anything new is enough")
    on_decay: bool = Field(True, description="a live skill that decayed is enough, once anything is new")
    wait_hours: float = Field(
        1.0,
        ge=0,
        le=168,
        description="from a training that failed to the next, in h; twice as long each time, a day at most",
    )
    organoid: str = Field("", description="count and train on this organoid's recordings only; empty: all organoids")
    run_config: str = Field(
        "",
        description="a file beside this one: their run config, as `voltpipe search` writes it; empty: defaults",
    )


class Trigger(StrEnum):
    """What made a retraining due."""

    RECORDINGS = "recordings"
    MINUTES = "minutes"
    DECAY = "decay"
    NIGHT = "night"


class NewRecording(Settings):
    """A conditioned recording that the champion has not learned from, nor been held out from it."""

    key: str
    minutes: float
    changed: bool = Field(description="the champion knew other content under this name")


class Failures(Settings):
    """Trainings that failed or were stopped since the last that came to a version."""

    n_times: int = Field(ge=1)
    last_run_id: str
    hours_ago: float


class RetrainingState(Settings):
    """All that the decision hangs on."""

    champion: str | None = Field(description="its version")
    new: tuple[NewRecording, ...] = Field(description="since the champion")
    untried: tuple[NewRecording, ...] = Field(description="of these, what no later version has learned from either")
    tried_by: str | None = Field(description="that later version, and what became of it")
    decayed: tuple[str, ...] = Field((), description="how the champion's skill on recordings that came since decayed")
    training: str | None = Field(description="the run of a training that waits or works")
    n_arriving: int = Field(ge=0, description="runs that are about to condition recordings")
    failures: Failures | None


class RetrainingDecision(Settings):
    """Whether to train now."""

    trigger: Trigger | None = Field(description="None if nothing is due")
    reason: str = Field(description="what made it due, or what it waits for")

    @property
    def due(self) -> bool:
        """Whether to train now."""
        return self.trigger is not None


def decide(policy: RetrainingPolicy, state: RetrainingState, *, at_night: bool = False) -> RetrainingDecision:
    """Decide whether a retraining is due.

    Args:
        policy: what is enough.
        state: what there is.
        at_night: whether it is the time at which anything new is enough.
    """
    if hindrance := _hindrance(policy, state, at_night):
        return RetrainingDecision(trigger=None, reason=hindrance)
    for trigger, enough, reason in _measures(policy, state):
        if enough:
            return RetrainingDecision(trigger=trigger, reason=f"{reason}, {_since(state)}")
    if at_night and policy.nightly:
        return RetrainingDecision(trigger=Trigger.NIGHT, reason=f"at night, {_count(state.untried)}, {_since(state)}")
    waits_for = ", ".join(reason for _, _, reason in _measures(policy, state))
    return RetrainingDecision(trigger=None, reason=f"{waits_for}, {_since(state)}")


def _hindrance(policy: RetrainingPolicy, state: RetrainingState, at_night: bool) -> str:
    """Why nothing can be due now; empty if it can."""
    if state.training:
        return f"a training is under way: run {state.training[:8]}"
    if not state.untried:
        if state.new:
            return f"{state.tried_by}, has tried the {_count(state.new)}, {_since(state)}"
        return f"nothing new, {_since(state)}"
    if state.n_arriving and not at_night:
        return f"{_count(state.untried)} so far, and further are being conditioned"
    if state.failures:
        wait_hours = min(policy.wait_hours * 2 ** (state.failures.n_times - 1), 24.0)
        if 0 <= state.failures.hours_ago < wait_hours:
            return (
                f"the last training, run {state.failures.last_run_id[:8]}, did not succeed, "
                f"{state.failures.hours_ago:.1f} h ago; {_count(state.untried)} wait until that is {wait_hours:g} h ago"
            )
    return ""


def _measures(policy: RetrainingPolicy, state: RetrainingState) -> Iterator[tuple[Trigger, bool, str]]:
    """How far each measure has come: whether it is enough, and in words."""
    count, minutes = len(state.untried), sum(each.minutes for each in state.untried)
    yield Trigger.RECORDINGS, count >= policy.min_recordings, _of(count, policy.min_recordings, "recordings")
    yield Trigger.MINUTES, minutes >= policy.min_minutes, _of(minutes, policy.min_minutes, "minutes")
    if state.decayed:
        yield Trigger.DECAY, policy.on_decay, f"live skill decayed: {'; '.join(state.decayed)}"


def _of(amount: int | float, enough: int | float, what: str) -> str:
    shown = f"{amount:.1f}" if isinstance(amount, float) else str(amount)
    return f"{shown} new {what} ({enough:g} are enough)" if amount > enough else f"{shown} of {enough:g} new {what}"


def _since(state: RetrainingState) -> str:
    return f"since champion version {state.champion}" if state.champion else "no champion yet"


def _count(recordings: tuple[NewRecording, ...]) -> str:
    return f"{len(recordings)} new recording{'s' if len(recordings) != 1 else ''}"
