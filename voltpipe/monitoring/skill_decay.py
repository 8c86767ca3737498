"""Decay of the champion's skill: its R2 on later recordings compared with that on held-out recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from voltpipe.lake.keys import RecordingKey
from voltpipe.monitoring.settings import DecaySettings


@dataclass(frozen=True)
class LiveScore:
    """Score of the champion on a recording made after its training."""

    recording: str
    """Partition key."""
    r2: float
    """R2, averaged over the champion's horizons."""


class DecayCode(StrEnum):
    """Stable code of the outcome of a decay test."""

    TOO_FEW_RECORDINGS = "too-few-recordings"
    SKILL_HOLDS = "skill-holds"
    SKILL_DECAYED = "skill-decayed"


@dataclass(frozen=True)
class SkillDecay:
    """Outcome of the decay test on one organoid."""

    code: DecayCode
    organoid: str
    recordings: tuple[str, ...]
    """Keys of the latest recordings, whose scores are averaged."""
    required_recordings: int
    expected_r2: float
    live_r2: float
    """R2, averaged over these recordings."""
    decay_bound: float

    @property
    def decayed(self) -> bool:
        """Return whether the skill is lower than expected by more than the bound."""
        return self.code is DecayCode.SKILL_DECAYED

    @property
    def reason(self) -> str:
        """Return the outcome in words, with the numbers."""
        n_recordings = len(self.recordings)
        too_few = self.code is DecayCode.TOO_FEW_RECORDINGS
        count = f"{n_recordings} of {self.required_recordings}" if too_few else f"its {n_recordings} latest"
        found = f"on {self.organoid}, mean R2 over {count} recordings is {self.live_r2:.3f}"
        bound = f", lower by more than {self.decay_bound:g}" if self.decayed else ""
        return f"{found}, {self.expected_r2:.3f} was expected{bound}"


def skill_decay(
    live: Sequence[LiveScore], expected_r2: Mapping[str, float], settings: DecaySettings
) -> tuple[SkillDecay, ...]:
    """Test whether skill decayed on each organoid, so that no organoid hides another.

    The scores of an organoid's latest recordings are averaged, once there are enough: one bad recording is no decay.

    Args:
        live: the present champion's scores, in the order of scoring.
        expected_r2: the champion's mean R2 on held-out recordings, by training organoid.
        settings: number of recordings to average, and the bound.

    Returns:
        One `SkillDecay` for each organoid with a live score and an expectation, sorted by name.
    """
    by_organoid: dict[str, list[LiveScore]] = {}
    for score in live:
        by_organoid.setdefault(RecordingKey.parse(score.recording).organoid, []).append(score)
    return tuple(
        _decay_on(organoid, scores, expected_r2[organoid], settings)
        for organoid, scores in sorted(by_organoid.items())
        if organoid in expected_r2
    )


def _decay_on(organoid: str, scores: Sequence[LiveScore], expected_r2: float, settings: DecaySettings) -> SkillDecay:
    latest = scores[-settings.recent_recordings :]
    live_r2 = sum(score.r2 for score in latest) / len(latest)
    code = DecayCode.SKILL_HOLDS
    if len(latest) < settings.recent_recordings:
        code = DecayCode.TOO_FEW_RECORDINGS
    elif not expected_r2 - live_r2 <= settings.decay_bound:  # also if it is NaN
        code = DecayCode.SKILL_DECAYED
    return SkillDecay(
        code=code,
        organoid=organoid,
        recordings=tuple(score.recording for score in latest),
        required_recordings=settings.recent_recordings,
        expected_r2=expected_r2,
        live_r2=live_r2,
        decay_bound=settings.decay_bound,
    )
