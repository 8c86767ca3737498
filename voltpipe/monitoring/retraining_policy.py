"""The retraining policy: decides whether a retraining is due, with a reason. Imports neither MLflow nor torch."""

from enum import StrEnum

from pydantic import Field

from voltpipe.schema import FrozenModel, Settings


class RetrainingPolicy(Settings):
    """Thresholds for a retraining. It always needs a recording that no version was trained on."""

    min_recordings: int = Field(
        5, ge=1, le=100_000, description="Number of new recordings that makes a retraining due."
    )
    min_minutes: float = Field(
        30.0, gt=0, le=1e6, description="Duration of new recordings that makes a retraining due, in minutes."
    )
    nightly: bool = Field(True, description="Whether any new recording makes a retraining due at night.")
    on_decay: bool = Field(
        True, description="Whether decayed live skill makes a retraining due once there is a new recording."
    )
    wait_hours: float = Field(
        1.0,
        ge=0,
        le=168,
        description="Delay after a failed training, in hours. Doubles each time, up to 24 h.",
    )
    organoid: str = Field(
        "", description="Organoid whose recordings are counted and trained on. Empty for all organoids."
    )
    run_config: str = Field(
        "",
        description="File with the run config of trainings, in the same folder, as written by `voltpipe search`. "
        "Empty for defaults.",
    )


class RetrainingTrigger(StrEnum):
    """Threshold that made a retraining due."""

    RECORDINGS = "recordings"
    MINUTES = "minutes"
    DECAY = "decay"
    NIGHT = "night"


class NewRecording(FrozenModel):
    """A conditioned recording that the champion was neither trained nor evaluated on."""

    key: str
    minutes: float
    changed: bool = Field(description="Whether the champion was trained on other content under this name.")


class Failures(FrozenModel):
    """Trainings that failed or were stopped after the last successful one."""

    n_times: int = Field(ge=1)
    last_run_id: str
    hours_ago: float


class RetrainingState(FrozenModel):
    """Facts on which the decision is based."""

    champion: str | None = Field(description="Version of the champion. None if there is no champion.")
    new: tuple[NewRecording, ...] = Field(description="Recordings that are new to the champion.")
    untried: tuple[NewRecording, ...] = Field(
        description="Recordings among these that are new to all later versions too."
    )
    tried_by: str | None = Field(
        description="A later version that was trained on the others, and its outcome. None if there is none."
    )
    decayed: tuple[str, ...] = Field((), description="Reasons why the champion's live skill decayed.")
    training: str | None = Field(description="Run of a queued or active training. None if there is none.")
    n_arriving: int = Field(ge=0, description="Number of runs that are conditioning recordings, or are about to.")
    failures: Failures | None


class RetrainingReason(StrEnum):
    """Stable code of a decision on a retraining. The first four make a retraining due."""

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
    """Decision whether to retrain now, with the policy and the facts."""

    code: RetrainingReason
    policy: RetrainingPolicy
    state: RetrainingState

    @property
    def trigger(self) -> RetrainingTrigger | None:
        """Return the threshold that made a retraining due; None if none is due."""
        return _TRIGGERS.get(self.code)

    @property
    def due(self) -> bool:
        """Return whether to retrain now."""
        return self.trigger is not None

    @property
    def reason(self) -> str:
        """Return the reason in words, with the numbers."""
        champion = f"since champion version {self.state.champion}" if self.state.champion else "no champion yet"
        return f"{_describe(self)}, {champion}" if self.code in _COUNTED else _describe(self)


_COUNTED = {*_TRIGGERS, RetrainingReason.ALREADY_TRIED, RetrainingReason.NOTHING_NEW, RetrainingReason.NOT_ENOUGH}
"""Reasons that mention the champion since which recordings are counted."""


def decide_retraining(
    policy: RetrainingPolicy, state: RetrainingState, *, at_night: bool = False
) -> RetrainingDecision:
    """Decide whether a retraining is due.

    Args:
        policy: the thresholds.
        state: new recordings, active trainings and failed ones.
        at_night: whether it is the time of the nightly retraining.
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


def _describe(decision: RetrainingDecision) -> str:
    policy, state = decision.policy, decision.state
    recordings = _progress(len(state.untried), policy.min_recordings, "recordings")
    minutes = _progress(_minutes(state), policy.min_minutes, "minutes")
    decayed = [f"live skill decayed: {'; '.join(state.decayed)}"] if state.decayed else []
    match decision.code:
        case RetrainingReason.TRAINING_UNDER_WAY:
            return f"a training is active: run {(state.training or '')[:8]}"
        case RetrainingReason.ALREADY_TRIED:
            return f"{state.tried_by}, was already trained on the {_count(state.new)}"
        case RetrainingReason.NOTHING_NEW:
            return "no new recordings"
        case RetrainingReason.RECORDINGS_ARRIVING:
            return f"{_count(state.untried)} so far, {state.n_arriving} more being conditioned"
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
    return sum((recording.minutes for recording in state.untried), 0.0)


def _progress(amount: int | float, threshold: int | float, what: str) -> str:
    number = f"{amount:.1f}" if isinstance(amount, float) else str(amount)
    return (
        f"{number} of {threshold:g} new {what}"
        if amount <= threshold
        else f"{number} new {what} (threshold {threshold:g})"
    )


def _count(recordings: tuple[NewRecording, ...]) -> str:
    return f"{len(recordings)} new recording{'s' if len(recordings) != 1 else ''}"
