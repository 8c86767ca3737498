"""One sentence or two that say what the scores say."""

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.gain_over import gain_over
from voltpipe.evaluation.labels import PUBLISHED_WARNING, duration_label, forecaster_label
from voltpipe.evaluation.regimes import Regime
from voltpipe.windows.settings import Protocol

NOTICEABLE_R2 = 0.002
"""Smaller differences of R2 are called none: that much a second training with another seed may change."""
_ONE_RECORDING = "There was one recording to judge by: another might say otherwise."

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
    words = f"{warning}{situation}, {skill}. {_against_baselines(evaluation, regime)}"
    return words if len(evaluation.provenance.recordings[regime]) > 1 else f"{words} {_ONE_RECORDING}"


def _share(r2: float) -> str:
    """In per cent; never all of it, where some is left over."""
    return f"{r2:.1%}" if r2 > 0.98 else f"{r2:.0%}"


def _against_baselines(evaluation: Evaluation, regime: Regime) -> str:
    beaten, clauses = [], []
    for baseline in evaluation.baselines:
        label = f"the {forecaster_label(baseline)}" if baseline == "look_up" else forecaster_label(baseline)
        found = _compare(evaluation, regime, baseline)
        if set(found) == {_BETTER}:
            beaten.append(label)
            continue
        only = len(found) == 1
        clauses += [f"better than {label} {_at(found[_BETTER])}"] if _BETTER in found else []
        for standing, words in _WORDS.items():
            if standing in found:
                at = _EVERYWHERE[standing] if only else _at(found[standing])
                clauses.append(f"{words} {label} {at}")
    sentences = [f"It beats {_list(beaten)} at every horizon."] if beaten else []
    if clauses:
        sentences.append(f"It is {_list(clauses)}.")
    return " ".join(sentences) or "There is no baseline beside it."


_BETTER, _UNSURE, _LEVEL, _WORSE = "better", "unsure", "level", "worse"
_WORDS = {
    _UNSURE: "not beyond doubt better than",
    _LEVEL: "no better than",
    _WORSE: "worse than",
}
_EVERYWHERE = {_UNSURE: "at any horizon", _LEVEL: "at any horizon", _WORSE: "at every horizon"}


def _compare(evaluation: Evaluation, regime: Regime, baseline: str) -> dict[str, list[str]]:
    """Horizons (in ms) by how the forecaster stands there.

    Better is what is noticeably ahead, with the whole paired interval over recordings where there are several.
    """
    found: dict[str, list[str]] = {}
    for horizon in evaluation.horizons:
        other = evaluation.find_score(baseline, regime, horizon)
        if other is None:
            continue
        gain = evaluation.score(evaluation.forecaster, regime, horizon).r2 - other.r2
        standing = _BETTER if gain > NOTICEABLE_R2 else _WORSE if gain < -NOTICEABLE_R2 else _LEVEL
        paired = gain_over(evaluation, baseline, regime, horizon)
        if standing == _BETTER and paired and paired.lower is not None and paired.lower <= 0:
            standing = _UNSURE
        found.setdefault(standing, []).append(duration_label(horizon, evaluation.provenance.rate_hz))
    return found


def _at(durations: list[str]) -> str:
    return f"at {_list([duration.removesuffix(' ms') for duration in durations])} ms"


def _list(items: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
