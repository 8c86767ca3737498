"""The skill bar: where a forecaster stands between what costs nothing and what is possible."""

from collections.abc import Iterator
from dataclasses import dataclass

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.labels import duration_label
from voltpipe.evaluation.regimes import Regime

_START, _TICK = "persistence", "look_up"


@dataclass(frozen=True)
class SkillBar:
    """One horizon's bar. Positions run from 0 (its left end) to 1 (its right end)."""

    horizon: str
    """In milliseconds."""
    start: str
    """What the left end is: persistence, or the mean where persistence is worse than that."""
    start_r2: float
    stop: str
    """What the right end is: the ceiling, or a perfect forecast where the ceiling is not known."""
    stop_r2: float
    look_up_r2: float | None
    look_up_position: float | None
    forecaster_r2: float
    forecaster_position: float


def skill_bars(evaluation: Evaluation, regime: Regime) -> Iterator[SkillBar]:
    """A bar for each of the forecaster's horizons."""
    for horizon in evaluation.horizons:
        persistence = evaluation.find_score(_START, regime, horizon)
        look_up = evaluation.find_score(_TICK, regime, horizon)
        ceiling = evaluation.ceiling_r2.get(horizon)
        start_r2 = max(persistence.r2 if persistence else 0.0, 0.0)
        stop_r2 = 1.0 if ceiling is None or ceiling <= start_r2 else ceiling
        own_r2 = evaluation.score(evaluation.forecaster, regime, horizon).r2
        yield SkillBar(
            horizon=duration_label(horizon, evaluation.provenance.rate_hz),
            start=_START if start_r2 > 0 else "mean",
            start_r2=start_r2,
            stop="perfect" if stop_r2 == 1 else "ceiling",
            stop_r2=stop_r2,
            look_up_r2=look_up.r2 if look_up else None,
            look_up_position=_position(look_up.r2, start_r2, stop_r2) if look_up else None,
            forecaster_r2=own_r2,
            forecaster_position=_position(own_r2, start_r2, stop_r2),
        )


def _position(r2: float, start_r2: float, stop_r2: float) -> float:
    """Where an R2 lies on the bar; what lies beyond an end stays at that end."""
    return min(1.0, max(0.0, (r2 - start_r2) / (stop_r2 - start_r2)))
