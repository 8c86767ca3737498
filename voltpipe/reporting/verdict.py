"""Comparison of a forecaster with its baselines, as enum values and as sentences."""

from enum import StrEnum

from voltpipe.evaluation.labels import PUBLISHED_WARNING, duration_label, forecaster_label
from voltpipe.evaluation.paired_gain import gain_over_baseline
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import NOTICEABLE_R2, Evaluation
from voltpipe.windows.settings import Protocol

_ONE_RECORDING = "This result rests on a single recording; another recording may give a different one."

_REGIMES = {
    Regime.TEST: "On held-out recordings",
    Regime.ZERO_SHOT: "On unseen organoids",
    Regime.ADAPTED: "On unseen organoids, after adapting to the beginning of each recording",
    Regime.TIME: "On the held-out end of its training recordings",
}


def evaluation_verdict(evaluation: Evaluation) -> str:
    """Sum up the forecaster's skill in the strictest regime, compared with the ceiling and each baseline."""
    regime, name = evaluation.regimes[0], forecaster_label(evaluation.forecaster)
    if evaluation.provenance.protocol == Protocol.PUBLISHED:
        condition, warning = "On shuffled windows", f"{PUBLISHED_WARNING} "
    else:
        condition, warning = _REGIMES[regime], ""
    nearest = evaluation.horizons[0]
    score = evaluation.score(evaluation.forecaster, regime, nearest)
    ahead = duration_label(nearest, evaluation.provenance.rate_hz)
    if score.r2 <= 0:
        skill = f"{name} forecasts the voltage {ahead} ahead no better than the mean voltage does"
    else:
        skill = f"{name} explains {_share(score.r2)} of the voltage's variance {ahead} ahead"
        share = evaluation.share_of_ceiling(regime, nearest)
        skill += "" if share is None else f", which is {share:.0%} of the predictable variance"
    text = f"{warning}{condition}, {skill}. {_against_baselines(evaluation)}"
    return text if len(evaluation.provenance.recordings[regime]) > 1 else f"{text} {_ONE_RECORDING}"


def _share(r2: float) -> str:
    """Format a share in percent, with one decimal above 98 %."""
    return f"{r2:.1%}" if r2 > 0.98 else f"{r2:.0%}"


class Standing(StrEnum):
    """Result of comparing a forecaster with a baseline at one horizon."""

    BETTER = "better"
    """R2 noticeably higher; with several recordings, the paired interval also excludes zero."""
    UNSURE = "unsure"
    """R2 noticeably higher, but the paired interval includes zero."""
    LEVEL = "level"
    """No noticeable difference of R2."""
    WORSE = "worse"
    """R2 noticeably lower."""


_WORDS = {
    Standing.UNSURE: "not significantly better than",
    Standing.LEVEL: "no better than",
    Standing.WORSE: "worse than",
}
_EVERYWHERE = {
    Standing.UNSURE: "at any horizon",
    Standing.LEVEL: "at any horizon",
    Standing.WORSE: "at every horizon",
}


def standings(evaluation: Evaluation, baseline: str) -> dict[int, Standing]:
    """Compare the forecaster with a baseline in the strictest regime, by horizon in samples."""
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
        label = _with_article(baseline)
        found: dict[Standing, list[str]] = {}
        for horizon, standing in standings(evaluation, baseline).items():
            found.setdefault(standing, []).append(duration_label(horizon, evaluation.provenance.rate_hz))
        if set(found) == {Standing.BETTER}:
            beaten.append(label)
            continue
        clauses += [f"better than {label} {_at(found[Standing.BETTER])}"] if Standing.BETTER in found else []
        for standing, words in _WORDS.items():
            if standing in found:
                at = _EVERYWHERE[standing] if len(found) == 1 else _at(found[standing])
                clauses.append(f"{words} {label} {at}")
    sentences = [f"It beats {_list(beaten)} at every horizon."] if beaten else []
    if clauses:
        sentences.append(f"It is {_list(clauses)}.")
    return " ".join(sentences) or "No baseline was evaluated."


def _with_article(baseline: str) -> str:
    return f"the {forecaster_label(baseline)}" if baseline == "look_up" else forecaster_label(baseline)


def _at(durations: list[str]) -> str:
    return f"at {_list([duration.removesuffix(' ms') for duration in durations])} ms"


def _list(items: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
