"""Policy of retraining: when one is due, and the reason. Imports neither MLflow nor torch."""

from enum import StrEnum

from pydantic import Field

from voltpipe.schema import FrozenModel, Settings


class RetrainingPolicy(Settings):
    """Thresholds for a retraining. None is started without a recording that no training has learned from."""

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


class RetrainingTrigger(StrEnum):
    """What made a retraining due."""

    RECORDINGS = "recordings"
    MINUTES = "minutes"
    DECAY = "decay"
    NIGHT = "night"


class NewRecording(FrozenModel):
    """A conditioned recording that the champion has not learned from, nor been held out from it."""

    key: str
    minutes: float
    changed: bool = Field(description="the champion knew other content under this name")


class Failures(FrozenModel):
    """Trainings that failed or were stopped since the last successful one."""

    n_times: int = Field(ge=1)
    last_run_id: str
    hours_ago: float


class RetrainingState(FrozenModel):
    """Inputs of the decision."""

    champion: str | None = Field(description="its version")
    new: tuple[NewRecording, ...] = Field(description="since the champion")
    untried: tuple[NewRecording, ...] = Field(description="of these, what no later version has learned from either")
    tried_by: str | None = Field(description="that later version, and what became of it")
    decayed: tuple[str, ...] = Field((), description="how the champion's skill on recordings that came since decayed")
    training: str | None = Field(description="the run of a training that waits or works")
    n_arriving: int = Field(ge=0, description="runs that are about to condition recordings")
    failures: Failures | None


class RetrainingReason(StrEnum):
    """Stable code of a decision on a retraining. The first four make it due."""

    ENOUGH_RECORDINGS = "enough-recordings"
    ENOUGH_MINUTES = "enough-minutes"
    SKILL_DECAYED = "skill-decayed"
    NIGHT = "night"
    TRAINING_UNDER_WAY = "training-under-way"
    ALREADY_TRIED = "already-tried"
    NOTHING_NEW = "nothing-new"
    RECORDINGS_ARRIVING = "recordings-arriving"
    WAITING_AFTER_FAILURE = "waiting-after-failure"
    NOT_ENOUGH = "not-enough"


_TRIGGERS = {
    RetrainingReason.ENOUGH_RECORDINGS: RetrainingTrigger.RECORDINGS,
    RetrainingReason.ENOUGH_MINUTES: RetrainingTrigger.MINUTES,
    RetrainingReason.SKILL_DECAYED: RetrainingTrigger.DECAY,
    RetrainingReason.NIGHT: RetrainingTrigger.NIGHT,
}


class RetrainingDecision(FrozenModel):
    """Decision whether to train now, with what it was made from."""

    code: RetrainingReason
    policy: RetrainingPolicy
    state: RetrainingState

    @property
    def trigger(self) -> RetrainingTrigger | None:
        """What made a retraining due; None if nothing is due."""
        return _TRIGGERS.get(self.code)

    @property
    def due(self) -> bool:
        """Whether to train now."""
        return self.trigger is not None

    @property
    def reason(self) -> str:
        """The reason as sentences for the user, with the figures."""
        champion = f"since champion version {self.state.champion}" if self.state.champion else "no champion yet"
        return f"{_found(self)}, {champion}" if self.code in _COUNTED else _found(self)


_COUNTED = {*_TRIGGERS, RetrainingReason.ALREADY_TRIED, RetrainingReason.NOTHING_NEW, RetrainingReason.NOT_ENOUGH}
"""Reasons that count recordings since the champion."""


def decide_retraining(
    policy: RetrainingPolicy, state: RetrainingState, *, at_night: bool = False
) -> RetrainingDecision:
    """Decide whether a retraining is due.

    Args:
        policy: the thresholds.
        state: new recordings, trainings under way and failed ones.
        at_night: whether it is the time at which anything new is enough.
    """
    return RetrainingDecision(code=_code(policy, state, at_night), policy=policy, state=state)


def _code(policy: RetrainingPolicy, state: RetrainingState, at_night: bool) -> RetrainingReason:
    if state.training:
        return RetrainingReason.TRAINING_UNDER_WAY
    if not state.untried:
        return RetrainingReason.ALREADY_TRIED if state.new else RetrainingReason.NOTHING_NEW
    if state.n_arriving and not at_night:
        return RetrainingReason.RECORDINGS_ARRIVING
    if state.failures and 0 <= state.failures.hours_ago < _wait_hours(policy, state.failures):
        return RetrainingReason.WAITING_AFTER_FAILURE
    if len(state.untried) >= policy.min_recordings:
        return RetrainingReason.ENOUGH_RECORDINGS
    if _minutes(state) >= policy.min_minutes:
        return RetrainingReason.ENOUGH_MINUTES
    if state.decayed and policy.on_decay:
        return RetrainingReason.SKILL_DECAYED
    return RetrainingReason.NIGHT if at_night and policy.nightly else RetrainingReason.NOT_ENOUGH


def _found(decision: RetrainingDecision) -> str:
    policy, state = decision.policy, decision.state
    recordings = _of(len(state.untried), policy.min_recordings, "recordings")
    minutes = _of(_minutes(state), policy.min_minutes, "minutes")
    decayed = [f"live skill decayed: {'; '.join(state.decayed)}"] if state.decayed else []
    match decision.code:
        case RetrainingReason.TRAINING_UNDER_WAY:
            return f"a training is under way: run {(state.training or '')[:8]}"
        case RetrainingReason.ALREADY_TRIED:
            return f"{state.tried_by}, has tried the {_count(state.new)}"
        case RetrainingReason.NOTHING_NEW:
            return "nothing new"
        case RetrainingReason.RECORDINGS_ARRIVING:
            return f"{_count(state.untried)} so far, and {state.n_arriving} more being conditioned"
        case RetrainingReason.WAITING_AFTER_FAILURE:
            return _waiting(policy, state)
        case RetrainingReason.ENOUGH_RECORDINGS:
            return recordings
        case RetrainingReason.ENOUGH_MINUTES:
            return minutes
        case RetrainingReason.SKILL_DECAYED:
            return ", ".join(decayed)
        case RetrainingReason.NIGHT:
            return f"at night, {_count(state.untried)}"
        case RetrainingReason.NOT_ENOUGH:
            return ", ".join([recordings, minutes, *decayed])


def _waiting(policy: RetrainingPolicy, state: RetrainingState) -> str:
    assert state.failures is not None
    failures = state.failures
    return (
        f"the last training, run {failures.last_run_id[:8]}, failed {failures.hours_ago:.1f} h ago. "
        f"The next one starts {_wait_hours(policy, failures):g} h after it, with {_count(state.untried)}"
    )


def _wait_hours(policy: RetrainingPolicy, failures: Failures) -> float:
    return float(min(policy.wait_hours * 2 ** (failures.n_times - 1), 24.0))


def _minutes(state: RetrainingState) -> float:
    return sum((each.minutes for each in state.untried), 0.0)


def _of(amount: int | float, enough: int | float, what: str) -> str:
    shown = f"{amount:.1f}" if isinstance(amount, float) else str(amount)
    return f"{shown} new {what} ({enough:g} are enough)" if amount > enough else f"{shown} of {enough:g} new {what}"


def _count(recordings: tuple[NewRecording, ...]) -> str:
    return f"{len(recordings)} new recording{'s' if len(recordings) != 1 else ''}"
