"""Rules of promotion: pure functions of two evaluations, without MLflow or Dagster."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from voltpipe.evaluation.comparison import Comparison, GroupGain, compare_forecasters
from voltpipe.evaluation.labels import regime_label
from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import Evaluation
from voltpipe.tracking.lineage import Lineage
from voltpipe.tracking.promotion_reasons import (
    BaselineNotBeaten,
    BaselineNotScored,
    BaselinesBeaten,
    BelowChampion,
    ChampionBeaten,
    ChampionHorizonsMissing,
    GainTooSmall,
    GroupWorse,
    NoChampion,
    NoRequiredHorizon,
    NoScoresByRecording,
    NoUnseenRecording,
    OtherWindowSet,
    PromotionReason,
    PublishedProtocol,
    SmallestGain,
)
from voltpipe.tracking.settings import PromotionSettings
from voltpipe.windows.settings import Protocol


@dataclass(frozen=True)
class ComparisonSet:
    """Recordings on which a candidate and the champion are compared."""

    recordings: frozenset[str]
    """Keys of the recordings on which the gain is measured."""
    guarded: frozenset[str]
    """Keys of all recordings that neither learned from. On these, no organoid or type of channel may lose."""
    all_fresh: bool = False
    """Whether all `recordings` came after the champion's training."""

    @property
    def described(self) -> str:
        """Description of the recordings, for use after "on"."""
        count = f"{len(self.recordings)} held-out recording" + ("" if len(self.recordings) == 1 else "s")
        return (
            f"{count} that came after the champion's training"
            if self.all_fresh
            else f"{count} that neither learned from"
        )


def choose_comparison_set(
    held_out: Mapping[str, str],
    champion: Sequence[Lineage],
    candidate: Sequence[Lineage],
    regime: Regime,
    time_fraction: float,
    *,
    fresh_recordings: int,
) -> ComparisonSet:
    """Choose the comparison set from the recordings that a candidate's window set holds out.

    The champion was chosen for its score on earlier held-out recordings. After enough attempts, a candidate beats it
    there by chance. Recordings that came later were never used for a choice. If there are enough of them, only they
    count.

    Args:
        held_out: digest of each recording's raw file, by key.
        champion: lineages of the champion, including those of its initial weights.
        candidate: lineages of the candidate, including those of its initial weights.
        regime: whether whole recordings or only their ends are held out.
        time_fraction: fraction of each training recording, at its end, that the window set holds out.
        fresh_recordings: number of later recordings from which on only they count.
    """
    unseen = {
        key: digest
        for key, digest in held_out.items()
        if not any(lineage.learned_from(digest, regime, time_fraction) for lineage in (*champion, *candidate))
    }
    fresh = frozenset(key for key, digest in unseen.items() if not any(lineage.knew(digest) for lineage in champion))
    is_known = any(lineage.roles for lineage in champion)  # otherwise all recordings would seem later
    if is_known and len(fresh) >= fresh_recordings:
        return ComparisonSet(fresh, frozenset(unseen), all_fresh=True)
    return ComparisonSet(frozenset(unseen), frozenset(unseen))


BASELINES_TO_BEAT = ("persistence", "autoregression")


class PromotionRule(StrEnum):
    """Requirement for a promotion. Each one is an asset check of `champion_forecaster`."""

    BEATS_BASELINES = "beats_baselines"
    BEATS_CHAMPION = "beats_champion"
    NO_GROUP_WORSE = "no_organoid_or_channel_type_worse"
    NOT_ROLLED_BACK = "not_rolled_back"


@dataclass(frozen=True)
class PromotionDecision:
    """A decision on a candidate, with its reasons."""

    promoted: bool
    reasons: tuple[PromotionReason, ...]
    failed: frozenset[PromotionRule] = frozenset()
    comparison: Comparison | None = None
    """Comparison with the champion; None if they were not or could not be compared."""
    against: str | None = None
    """Version of the champion at the time of the decision."""

    @property
    def decision(self) -> str:
        """The decision in one word."""
        return "promoted" if self.promoted else "refused"

    @property
    def reason(self) -> str:
        """All reasons as sentences, in one line."""
        return " ".join(reason.text for reason in self.reasons)

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the reasons in their order, without repetitions."""
        return tuple(dict.fromkeys(reason.code for reason in self.reasons))


def decide_promotion(
    candidate: Evaluation, champion: Evaluation | None, targets: ComparisonSet, settings: PromotionSettings
) -> PromotionDecision:
    """Decide whether a candidate becomes champion.

    It must beat persistence and autoregression at each required horizon on held-out recordings, or on held-out time if
    no recording is held out. It must forecast at all horizons of the champion. The lower bound of its gain in mean R2
    on the same targets must exceed a margin. It must not lose too much on any organoid or type of channel.

    Args:
        candidate: the candidate's scores.
        champion: the champion's scores on the same window set; None if there is no champion.
        targets: the comparison set.
        settings: margins and bounds.
    """
    refusals: dict[PromotionRule, tuple[PromotionReason, ...]] = {
        PromotionRule.BEATS_BASELINES: (*_untrustworthy(candidate), *_below_baselines(candidate, settings))
    }
    comparison = None
    if champion is not None:
        obstacles = tuple(_incomparable(candidate, champion, targets))
        if not obstacles:
            comparison = compare_forecasters(
                candidate,
                champion,
                targets.recordings,
                champion.horizons,
                guarded=targets.guarded,
                error_rate=settings.error_rate,
            )
            refusals[PromotionRule.NO_GROUP_WORSE] = tuple(_worse_groups(comparison, settings.loss_bound))
            obstacles = tuple(_too_small(comparison.whole, champion, targets, settings))
        refusals[PromotionRule.BEATS_CHAMPION] = obstacles
    failed = frozenset(rule for rule, reasons in refusals.items() if reasons)
    reasons = [reason for of_rule in refusals.values() for reason in of_rule]
    if not failed:
        reasons = list(_merits(candidate, champion, targets, comparison, settings))
    return PromotionDecision(not failed, tuple(reasons), failed, comparison)


def _untrustworthy(candidate: Evaluation) -> Iterator[PromotionReason]:
    if candidate.provenance.protocol == Protocol.PUBLISHED:
        yield PublishedProtocol()


def _below_baselines(candidate: Evaluation, settings: PromotionSettings) -> Iterator[PromotionReason]:
    horizons = _required_horizons(candidate, settings)
    if not horizons:
        yield NoRequiredHorizon(_all_ms(candidate, settings.horizons_samples or ()))
    for horizon in horizons:
        own = _r2(candidate, horizon)
        for baseline in BASELINES_TO_BEAT:
            score = candidate.find_score(baseline, _regime(candidate), horizon)
            if score is None:
                yield BaselineNotScored(baseline, _ms(candidate, horizon))
            elif not own > score.r2:
                yield BaselineNotBeaten(baseline, _ms(candidate, horizon), own, score.r2)


def _incomparable(candidate: Evaluation, champion: Evaluation, targets: ComparisonSet) -> Iterator[PromotionReason]:
    if candidate.provenance.window_set_digest != champion.provenance.window_set_digest:
        yield OtherWindowSet()
        return
    missing = [horizon for horizon in champion.horizons if horizon not in candidate.horizons]
    if missing:
        yield ChampionHorizonsMissing(_all_ms(champion, missing))
        for horizon in filter(candidate.horizons.__contains__, champion.horizons):
            own, other = _r2(candidate, horizon), _r2(champion, horizon)
            if own < other:
                yield BelowChampion(_ms(champion, horizon), own, other)
    if not targets.recordings:
        yield NoUnseenRecording()
    if not candidate.by_recording:
        yield NoScoresByRecording()


def _too_small(
    whole: GroupGain, champion: Evaluation, targets: ComparisonSet, settings: PromotionSettings
) -> Iterator[PromotionReason]:
    if whole.paired.lower is None:
        certain, margin = whole.paired.gain, settings.lone_gain
    else:
        certain, margin = whole.paired.lower, settings.margin
    if not certain > margin:
        yield GainTooSmall(whole, _all_ms(champion, champion.horizons), targets.described, margin)


def _worse_groups(comparison: Comparison, bound: float) -> Iterator[PromotionReason]:
    for group in comparison.groups:
        if not group.paired.gain >= -bound:
            yield GroupWorse(group.group, group.r2, group.other_r2, bound)


def _merits(
    candidate: Evaluation,
    champion: Evaluation | None,
    targets: ComparisonSet,
    comparison: Comparison | None,
    settings: PromotionSettings,
) -> Iterator[PromotionReason]:
    horizons_ms = _all_ms(candidate, _required_horizons(candidate, settings))
    scored_on = regime_label(_regime(candidate), candidate.provenance.protocol)
    yield BaselinesBeaten(BASELINES_TO_BEAT, horizons_ms, scored_on)
    if champion is None or comparison is None:
        yield NoChampion()
        return
    yield ChampionBeaten(comparison.whole, _all_ms(champion, champion.horizons), targets.described)
    if comparison.groups:
        least = min(comparison.groups, key=lambda group: group.paired.gain)
        yield SmallestGain(least.group, least.paired.gain)


def _required_horizons(candidate: Evaluation, settings: PromotionSettings) -> tuple[int, ...]:
    required = settings.horizons_samples
    return tuple(horizon for horizon in candidate.horizons if required is None or horizon in required)


def _regime(evaluation: Evaluation) -> Regime:
    return evaluation.regimes[0]


def _r2(evaluation: Evaluation, horizon: int) -> float:
    return evaluation.score(evaluation.forecaster, _regime(evaluation), horizon).r2


def _ms(evaluation: Evaluation, horizon: int) -> float:
    return 1000 * horizon / evaluation.provenance.rate_hz


def _all_ms(evaluation: Evaluation, horizons: Sequence[int]) -> tuple[float, ...]:
    return tuple(_ms(evaluation, horizon) for horizon in horizons)
