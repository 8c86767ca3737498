"""One sentence or two that say what the scores say."""

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.labels import PUBLISHED_WARNING, duration_label, forecaster_label
from voltpipe.windows.settings import Protocol
from voltpipe.windows.window_set import Split

NOTICEABLE_R2 = 0.002
"""Smaller differences of R2 are called none: that much a second training with another seed may change."""

_SITUATIONS = {
    Split.TEST: "On recordings it never saw",
    Split.TIME: "On the later part of recordings whose beginning it saw",
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
        skill = f"{name} explains {score.r2:.0%} of the voltage's variance {ahead} ahead"
        share = evaluation.share_of_ceiling(regime, nearest)
        skill += "" if share is None else f", {share:.0%} of what can be predicted"
    return f"{warning}{situation}, {skill}. {_against_baselines(evaluation, regime)}"


def _against_baselines(evaluation: Evaluation, regime: Split) -> str:
    beaten, clauses = [], []
    for baseline in evaluation.baselines:
        label = forecaster_label(baseline)
        label = f"the {label}" if label == "look-up" else label
        better, level, worse = _compare(evaluation, regime, baseline)
        if not level and not worse:
            beaten.append(label)
            continue
        parts = [f"better than {label} at {_list(better)}"] if better else []
        parts += [f"no better than {label} at {_list(level)}"] if level else []
        parts += [f"worse than {label} at {_list(worse)}"] if worse else []
        clauses.append(_list(parts))
    sentences = [f"It beats {_list(beaten)} at every horizon."] if beaten else []
    if clauses:
        sentences.append(f"It is {'; '.join(clauses)}.")
    return " ".join(sentences) or "There is no baseline beside it."


def _compare(evaluation: Evaluation, regime: Split, baseline: str) -> tuple[list[str], list[str], list[str]]:
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


def _list(items: list[str]) -> str:
    """Items as in "a, b and c"; a unit that all share is said once."""
    if len(items) > 1 and all(item.endswith(" ms") for item in items):
        items = [item.removesuffix(" ms") for item in items[:-1]] + items[-1:]
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
