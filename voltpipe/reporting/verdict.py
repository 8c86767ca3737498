"""The verdict on a forecaster: typed standings against its baselines, and one or two sentences."""

from enum import StrEnum

from voltpipe.evaluation.labels import PUBLISHED_WARNING, duration_label, forecaster_label
from voltpipe.evaluation.paired_gain import gain_over_baseline
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import NOTICEABLE_R2, Evaluation
from voltpipe.windows.settings import Protocol

_ONE_RECORDING = "There was one recording to judge by: another might say otherwise."

_SITUATIONS = {
    Regime.TEST: "On recordings it never saw",
    Regime.ZERO_SHOT: "On organoids it never saw",
    Regime.ADAPTED: "On organoids it never saw, adapted to their beginning",
    Regime.TIME: "On the later part of recordings whose beginning it saw",
}


def evaluation_verdict(evaluation: Evaluation) -> str:
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
    words = f"{warning}{situation}, {skill}. {_against_baselines(evaluation)}"
    return words if len(evaluation.provenance.recordings[regime]) > 1 else f"{words} {_ONE_RECORDING}"


def _share(r2: float) -> str:
    """In per cent; never all of it, where some is left over."""
    return f"{r2:.1%}" if r2 > 0.98 else f"{r2:.0%}"


class Standing(StrEnum):
    """How a forecaster stands against a baseline at one horizon."""

    BETTER = "better"
    """Noticeably ahead, with the whole paired interval over recordings where there are several."""
    UNSURE = "unsure"
    """Noticeably ahead, but not with the whole interval."""
    LEVEL = "level"
    WORSE = "worse"


_WORDS = {
    Standing.UNSURE: "not beyond doubt better than",
    Standing.LEVEL: "no better than",
    Standing.WORSE: "worse than",
}
_EVERYWHERE = {
    Standing.UNSURE: "at any horizon",
    Standing.LEVEL: "at any horizon",
    Standing.WORSE: "at every horizon",
}


def standings(evaluation: Evaluation, baseline: str) -> dict[int, Standing]:
    """Return how the forecaster stands against a baseline in the strictest regime, by horizon in samples."""
    regime = evaluation.regimes[0]
    found = {}
    for horizon in evaluation.horizons:
        other = evaluation.find_score(baseline, regime, horizon)
        if other is None:
            continue
        gain = evaluation.score(evaluation.forecaster, regime, horizon).r2 - other.r2
        paired = gain_over_baseline(evaluation, baseline, regime, horizon)
        unsure = paired is not None and paired.lower is not None and paired.lower <= 0
        if gain > NOTICEABLE_R2:
            found[horizon] = Standing.UNSURE if unsure else Standing.BETTER
        else:
            found[horizon] = Standing.WORSE if gain < -NOTICEABLE_R2 else Standing.LEVEL
    return found


def _against_baselines(evaluation: Evaluation) -> str:
    beaten, clauses = [], []
    for baseline in evaluation.baselines:
        label = f"the {forecaster_label(baseline)}" if baseline == "look_up" else forecaster_label(baseline)
        found: dict[Standing, list[str]] = {}
        for horizon, standing in standings(evaluation, baseline).items():
            found.setdefault(standing, []).append(duration_label(horizon, evaluation.provenance.rate_hz))
        if set(found) == {Standing.BETTER}:
            beaten.append(label)
            continue
        only = len(found) == 1
        clauses += [f"better than {label} {_at(found[Standing.BETTER])}"] if Standing.BETTER in found else []
        for standing, words in _WORDS.items():
            if standing in found:
                at = _EVERYWHERE[standing] if only else _at(found[standing])
                clauses.append(f"{words} {label} {at}")
    sentences = [f"It beats {_list(beaten)} at every horizon."] if beaten else []
    if clauses:
        sentences.append(f"It is {_list(clauses)}.")
    return " ".join(sentences) or "There is no baseline next to it."


def _at(durations: list[str]) -> str:
    return f"at {_list([duration.removesuffix(' ms') for duration in durations])} ms"


def _list(items: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
