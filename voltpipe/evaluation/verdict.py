"""One sentence or two that say what the scores say."""

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.labels import PUBLISHED_WARNING, duration_label, forecaster_label
from voltpipe.evaluation.regimes import Regime
from voltpipe.windows.settings import Protocol

NOTICEABLE_R2 = 0.002
"""Smaller differences of R2 are called none: that much a second training with another seed may change."""

_SITUATIONS = {
    Regime.TEST: "On recordings it never saw",
    Regime.ZERO_SHOT: "On organoids it never saw",
    Regime.ADAPTED: "On organoids it never saw, adapted to their beginning",
    Regime.TIME: "On the later part of recordings whose beginning it saw",
}


def verdict(evaluation: Evaluation) -> str:
    """How good the forecaster is in the stricter regime, against each baseline and the ceiling, in plain words."""
    regime, name = evaluation.regimes[0], forecaster_label(evaluation.forecaster)
    if evaluation.provenance.protocol == Protocol.PUBLISHED:
        situation, warning = "On shuffled windows", f"{PUBLISHED_WARNING} "
    else:
        situation, warning = _SITUATIONS[regime], ""
    nearest = evaluation.horizons[0]
    score = evaluation.score(evaluation.forecaster, regime, nearest)
    ahead = duration_label(nearest, evaluation.provenance.rate_hz)
    if score.r2 <= 0:
        skill = f"{name} forecasts the voltage {ahead} ahead no better than its mean would"
    else:
        skill = f"{name} explains {_share(score.r2)} of the voltage's variance {ahead} ahead"
        share = evaluation.share_of_ceiling(regime, nearest)
        skill += "" if share is None else f", {share:.0%} of what can be predicted"
    return f"{warning}{situation}, {skill}. {_against_baselines(evaluation, regime)}"


def _share(r2: float) -> str:
    """In per cent; never all of it, where some is left over."""
    return f"{r2:.1%}" if r2 > 0.98 else f"{r2:.0%}"


def _against_baselines(evaluation: Evaluation, regime: Regime) -> str:
    beaten, clauses = [], []
    for baseline in evaluation.baselines:
        label = f"the {forecaster_label(baseline)}" if baseline == "look_up" else forecaster_label(baseline)
        better, level, worse = _compare(evaluation, regime, baseline)
        if better and not level and not worse:
            beaten.append(label)
            continue
        clauses += [f"better than {label} {_at(better)}"] if better else []
        clauses += [f"no better than {label} {_at(level) if better or worse else 'at any horizon'}"] if level else []
        clauses += [f"worse than {label} {_at(worse) if better or level else 'at every horizon'}"] if worse else []
    sentences = [f"It beats {_list(beaten)} at every horizon."] if beaten else []
    if clauses:
        sentences.append(f"It is {_list(clauses)}.")
    return " ".join(sentences) or "There is no baseline beside it."


def _compare(evaluation: Evaluation, regime: Regime, baseline: str) -> tuple[list[str], list[str], list[str]]:
    """Horizons (in ms) at which the forecaster is better, level and worse."""
    better: list[str] = []
    level: list[str] = []
    worse: list[str] = []
    for horizon in evaluation.horizons:
        other = evaluation.find_score(baseline, regime, horizon)
        if other is None:
            continue
        gain = evaluation.score(evaluation.forecaster, regime, horizon).r2 - other.r2
        group = better if gain > NOTICEABLE_R2 else worse if gain < -NOTICEABLE_R2 else level
        group.append(duration_label(horizon, evaluation.provenance.rate_hz))
    return better, level, worse


def _at(durations: list[str]) -> str:
    return f"at {_list([duration.removesuffix(' ms') for duration in durations])} ms"


def _list(items: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
