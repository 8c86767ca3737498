"""Does the champion still forecast new recordings as well as those that were held out when it was made?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from voltpipe.evaluation.live_settings import DecaySettings
from voltpipe.lake import RecordingKey


@dataclass(frozen=True)
class LiveScore:
    """How the champion did on a recording that came after it."""

    recording: str
    """Partition key."""
    r2: float
    """Averaged over the champion's horizons."""


@dataclass(frozen=True)
class SkillDecay:
    """What became of the champion's skill on one organoid."""

    organoid: str
    recordings: tuple[str, ...]
    """The latest ones, which are asked."""
    expected_r2: float
    live_r2: float
    """Averaged over these recordings."""
    decayed: bool
    reason: str
    """One clause, with the figures, whichever it is."""


def skill_decay(
    live: Sequence[LiveScore], expected_r2: Mapping[str, float], settings: DecaySettings
) -> tuple[SkillDecay, ...]:
    """Ask of each organoid whether skill decayed. One that drifts does not hide behind those that do not.

    An organoid's latest recordings are asked together, and none of them before there are enough: a single bad one is
    no decay.

    Args:
        live: the present champion's scores, in the order in which the recordings came.
        expected_r2: by organoid that the champion knows, its R2 on held-out recordings, averaged likewise.
        settings: how many recordings, and the bound.

    Returns:
        One `SkillDecay` for each organoid with a live score and an expectation, in order of their names; empty if
        there is none. Skill decayed, and retraining is due, if any of them has `decayed`; its `reason` says so in
        words. On an organoid that the champion does not know, there is no skill to decay.
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
    enough = len(latest) >= settings.recent_recordings
    decayed = enough and not expected_r2 - live_r2 <= settings.decay_bound
    asked = (
        f"its {len(latest)} latest recordings"
        if enough
        else f"{len(latest)} of {settings.recent_recordings} recordings"
    )
    return SkillDecay(
        organoid=organoid,
        recordings=tuple(score.recording for score in latest),
        expected_r2=expected_r2,
        live_r2=live_r2,
        decayed=decayed,
        reason=f"on {organoid}, mean R2 over {asked} is {live_r2:.3f}, {expected_r2:.3f} was expected"
        + (f": lower by more than {settings.decay_bound:g}" if decayed else ""),
    )
