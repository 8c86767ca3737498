"""Decay of the champion's skill: its R2 on later recordings against that on held-out recordings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from voltpipe.lake.keys import RecordingKey
from voltpipe.monitoring.settings import DecaySettings


@dataclass(frozen=True)
class LiveScore:
    """Score of the champion on a recording that came after its training."""

    recording: str
    """Partition key."""
    r2: float
    """Averaged over the champion's horizons."""


class DecayCode(StrEnum):
    """Stable code of a judgement on the champion's skill."""

    TOO_FEW_RECORDINGS = "too-few-recordings"
    SKILL_HOLDS = "skill-holds"
    SKILL_DECAYED = "skill-decayed"


@dataclass(frozen=True)
class SkillDecay:
    """Judgement on the champion's skill on one organoid."""

    code: DecayCode
    organoid: str
    recordings: tuple[str, ...]
    """The latest ones, which are judged together."""
    required_recordings: int
    expected_r2: float
    live_r2: float
    """Averaged over these recordings."""
    decay_bound: float

    @property
    def decayed(self) -> bool:
        """Whether the skill is lower than expected by more than the bound."""
        return self.code is DecayCode.SKILL_DECAYED

    @property
    def reason(self) -> str:
        """The judgement as one sentence, with the figures."""
        n_recordings = len(self.recordings)
        too_few = self.code is DecayCode.TOO_FEW_RECORDINGS
        judged = f"{n_recordings} of {self.required_recordings}" if too_few else f"its {n_recordings} latest"
        found = f"on {self.organoid}, mean R2 over {judged} recordings is {self.live_r2:.3f}"
        bound = f", lower by more than {self.decay_bound:g}" if self.decayed else ""
        return f"{found}, {self.expected_r2:.3f} was expected{bound}"


def skill_decay(
    live: Sequence[LiveScore], expected_r2: Mapping[str, float], settings: DecaySettings
) -> tuple[SkillDecay, ...]:
    """Judge whether skill decayed, by organoid, so that one that decays is not hidden by the others.

    The latest recordings of an organoid are judged together, once there are enough: one bad recording is no decay.

    Args:
        live: the present champion's scores, in the order in which the recordings came.
        expected_r2: by organoid that the champion learned from, its mean R2 on held-out recordings.
        settings: how many recordings, and the bound.

    Returns:
        One `SkillDecay` for each organoid with a live score and an expectation, sorted by name.
    """
    of_organoid: dict[str, list[LiveScore]] = {}
    for score in live:
        of_organoid.setdefault(RecordingKey.parse(score.recording).organoid, []).append(score)
    return tuple(
        _of_organoid(organoid, scores, expected_r2[organoid], settings)
        for organoid, scores in sorted(of_organoid.items())
        if organoid in expected_r2
    )


def _of_organoid(organoid: str, scores: Sequence[LiveScore], expected_r2: float, settings: DecaySettings) -> SkillDecay:
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
