"""May a candidate become champion? Decided from two evaluations alone; neither MLflow nor Dagster is known here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.labels import duration_label, regime_label
from voltpipe.evaluation.regimes import Regime
from voltpipe.tracking.settings import GateSettings
from voltpipe.windows.settings import Protocol

BASELINES_TO_BEAT = ("persistence", "autoregression")


@dataclass(frozen=True)
class GateDecision:
    """What was decided, and why, in plain words with figures."""

    promoted: bool
    reasons: tuple[str, ...]
    figures: dict[str, float]
    """Mean R2 of `candidate` and `champion` over the champion's horizons, where the two were compared."""

    @property
    def decision(self) -> str:
        """One word."""
        return "promoted" if self.promoted else "refused"


def decide(candidate: Evaluation, champion: Evaluation | None, settings: GateSettings) -> GateDecision:
    """Decide whether a candidate becomes champion.

    It must beat persistence and autoregression at each horizon on held-out recordings (on held-out time, where no
    recording is held out), forecast all that the champion forecasts, and beat its mean R2 on the same targets.

    Args:
        candidate: how the candidate did.
        champion: how the present champion does on the same window set; None if there is no champion.
        settings: margin and horizons.
    """
    figures = {} if champion is None else _means(candidate, champion)
    refusals = [*_untrustworthy(candidate), *_below_baselines(candidate, settings)]
    if champion is not None:
        refusals += _not_above_champion(candidate, champion, figures, settings.margin)
    if refusals:
        return GateDecision(False, tuple(refusals), figures)
    return GateDecision(True, tuple(_merits(candidate, champion, figures, settings)), figures)


def _untrustworthy(candidate: Evaluation) -> Iterator[str]:
    if candidate.provenance.protocol == Protocol.PUBLISHED:
        yield (
            "it was scored with the published protocol, whose test windows overlap with training windows: "
            "such scores are worth nothing but a comparison with the published ones"
        )


def _below_baselines(candidate: Evaluation, settings: GateSettings) -> Iterator[str]:
    horizons = _gated_horizons(candidate, settings)
    if not horizons:
        yield f"it forecasts none of the horizons to be judged ({_listed(candidate, settings.horizons_samples or ())})"
    for horizon in horizons:
        own = _r2(candidate, horizon)
        for baseline in BASELINES_TO_BEAT:
            known = candidate.find_score(baseline, _regime(candidate), horizon)
            if known is None:
                yield f"{baseline} was not scored at {_ms(candidate, horizon)}, so it cannot be said to be beaten"
            elif not own > known.r2:
                yield f"R2 at {_ms(candidate, horizon)}, {own:.3f}, is not above that of {baseline}, {known.r2:.3f}"


def _not_above_champion(
    candidate: Evaluation, champion: Evaluation, figures: dict[str, float], margin: float
) -> Iterator[str]:
    if candidate.provenance.window_set_digest != champion.provenance.window_set_digest:
        yield "it and the champion were scored on different held-out targets; evaluate both on the same window set"
        return
    lacking = [horizon for horizon in champion.horizons if horizon not in candidate.horizons]
    if lacking:
        yield f"it does not forecast at {_listed(champion, lacking)}, as the champion does"
        for horizon in filter(candidate.horizons.__contains__, champion.horizons):
            own, other = _r2(candidate, horizon), _r2(champion, horizon)
            if own < other:
                yield f"R2 at {_ms(champion, horizon)}, {own:.3f}, is below the champion's, {other:.3f}"
        return
    own, other = figures["candidate"], figures["champion"]
    if not (own > other and own - other >= margin):
        needed = f" by {margin:.3f}" if margin else ""
        yield (
            f"mean R2 over {_listed(champion, champion.horizons)}, {own:.4f}, "
            f"is not above the champion's, {other:.4f}{needed}"
        )


def _merits(
    candidate: Evaluation, champion: Evaluation | None, figures: dict[str, float], settings: GateSettings
) -> Iterator[str]:
    yield (
        f"it beats {' and '.join(BASELINES_TO_BEAT)} at {_listed(candidate, _gated_horizons(candidate, settings))} "
        f"on {regime_label(_regime(candidate), candidate.provenance.protocol)}"
    )
    if champion is None:
        yield "there was no champion"
    else:
        yield (
            f"mean R2 over {_listed(champion, champion.horizons)}, {figures['candidate']:.4f}, "
            f"is above the champion's, {figures['champion']:.4f}"
        )


def _means(candidate: Evaluation, champion: Evaluation) -> dict[str, float]:
    if not set(champion.horizons) <= set(candidate.horizons):
        return {}
    return {
        role: sum(_r2(evaluation, horizon) for horizon in champion.horizons) / len(champion.horizons)
        for role, evaluation in (("candidate", candidate), ("champion", champion))
    }


def _gated_horizons(candidate: Evaluation, settings: GateSettings) -> tuple[int, ...]:
    wanted = settings.horizons_samples
    return tuple(horizon for horizon in candidate.horizons if wanted is None or horizon in wanted)


def _regime(evaluation: Evaluation) -> Regime:
    return evaluation.regimes[0]


def _r2(evaluation: Evaluation, horizon: int) -> float:
    return evaluation.score(evaluation.forecaster, _regime(evaluation), horizon).r2


def _ms(evaluation: Evaluation, horizon: int) -> str:
    return duration_label(horizon, evaluation.provenance.rate_hz)


def _listed(evaluation: Evaluation, horizons: Sequence[int]) -> str:
    return ", ".join(_ms(evaluation, horizon) for horizon in horizons)
