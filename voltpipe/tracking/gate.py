"""May a candidate become champion? Decided from two evaluations alone; neither MLflow nor Dagster is known here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from voltpipe.evaluation.comparison import Comparison, GroupGain, compare
from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.labels import duration_label, regime_label
from voltpipe.evaluation.regimes import Regime
from voltpipe.tracking.settings import GateSettings
from voltpipe.tracking.targets import Targets
from voltpipe.windows.settings import Protocol

BASELINES_TO_BEAT = ("persistence", "autoregression")


class Rule(StrEnum):
    """What is demanded; each is a check on the champion's asset."""

    BEATS_BASELINES = "beats_baselines"
    BEATS_CHAMPION = "beats_champion"
    NO_GROUP_WORSE = "no_organoid_or_channel_type_worse"
    NOT_ROLLED_BACK = "not_rolled_back"


@dataclass(frozen=True)
class GateDecision:
    """What was decided, and why, in plain words with figures."""

    promoted: bool
    reasons: tuple[str, ...]
    failed: frozenset[Rule] = frozenset()
    comparison: Comparison | None = None
    """With the champion, where the two could be compared."""
    against: str | None = None
    """The version that was champion when this was decided."""

    @property
    def decision(self) -> str:
        """One word."""
        return "promoted" if self.promoted else "refused"

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)


def decide(
    candidate: Evaluation, champion: Evaluation | None, targets: Targets, settings: GateSettings
) -> GateDecision:
    """Decide whether a candidate becomes champion.

    It must beat persistence and autoregression at each horizon on held-out recordings (on held-out time, where no
    recording is held out), forecast all that the champion forecasts, beat its mean R2 on the same targets by a margin
    that the interval of the gain excludes, and lose on no organoid and no type of channel more than a bound.

    Args:
        candidate: how the candidate did.
        champion: how the present champion does on the same window set; None if there is no champion.
        targets: the held-out recordings on which the two are compared.
        settings: margins and bounds.
    """
    refusals = {Rule.BEATS_BASELINES: (*_untrustworthy(candidate), *_below_baselines(candidate, settings))}
    comparison = None
    if champion is not None:
        obstacles = tuple(_incomparable(candidate, champion, targets))
        if not obstacles:
            comparison = compare(
                candidate,
                champion,
                targets.recordings,
                champion.horizons,
                guarded=targets.guarded,
                error_rate=settings.error_rate,
            )
            refusals[Rule.NO_GROUP_WORSE] = tuple(_worse_groups(comparison, settings.loss_bound))
        refusals[Rule.BEATS_CHAMPION] = obstacles or tuple(_too_small(comparison, champion, targets, settings))
    failed = frozenset(rule for rule, reasons in refusals.items() if reasons)
    if failed:
        return GateDecision(False, tuple(reason for of in refusals.values() for reason in of), failed, comparison)
    return GateDecision(True, tuple(_merits(candidate, champion, targets, comparison, settings)), failed, comparison)


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


def _incomparable(candidate: Evaluation, champion: Evaluation, targets: Targets) -> Iterator[str]:
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
    if not targets.recordings:
        yield "the champion or the candidate learned from every recording that is held out now; record more"
    if not candidate.by_recording:
        yield "its scores do not say how it did on each recording; evaluate it again"


def _too_small(
    comparison: Comparison | None, champion: Evaluation, targets: Targets, settings: GateSettings
) -> Iterator[str]:
    assert comparison is not None
    whole = comparison.whole
    certain = whole.paired.gain if whole.paired.lower is None else whole.paired.lower
    margin = settings.lone_gain if whole.paired.lower is None else settings.margin
    if not certain > margin:
        lone = " where one recording alone decides" if whole.paired.lower is None else ""
        yield (
            f"{_compared(whole, champion, targets)}; "
            f"it must be more than {margin:.4f} above it{lone or ' beyond doubt'}"
        )


def _worse_groups(comparison: Comparison, bound: float) -> Iterator[str]:
    for group in comparison.groups:
        if not group.paired.gain >= -bound:
            yield (
                f"on {group.group}, mean R2 is {group.r2:.4f} and the champion's {group.other_r2:.4f}; "
                f"more than {bound:.4f} below it is not allowed"
            )


def _merits(
    candidate: Evaluation,
    champion: Evaluation | None,
    targets: Targets,
    comparison: Comparison | None,
    settings: GateSettings,
) -> Iterator[str]:
    yield (
        f"it beats {' and '.join(BASELINES_TO_BEAT)} at {_listed(candidate, _gated_horizons(candidate, settings))} "
        f"on {regime_label(_regime(candidate), candidate.provenance.protocol)}"
    )
    if champion is None or comparison is None:
        yield "there was no champion"
        return
    yield _compared(comparison.whole, champion, targets)
    if comparison.groups:
        least = min(comparison.groups, key=lambda group: group.paired.gain)
        yield f"the gain is least on {least.group}: {least.paired.gain:+.4f}"


def _compared(whole: GroupGain, champion: Evaluation, targets: Targets) -> str:
    paired = whole.paired
    interval = "" if paired.lower is None else f" (between {paired.lower:+.4f} and {paired.upper:+.4f})"
    return (
        f"mean R2 over {_listed(champion, champion.horizons)} on {targets.described} is {whole.r2:.4f}, the champion's "
        f"{whole.other_r2:.4f}: a gain of {paired.gain:+.4f}{interval}"
    )


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
