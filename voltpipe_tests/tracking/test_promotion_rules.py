"""Each rule of promotion, at 500 Hz, where 5 samples are 10 ms."""

from datetime import date

import pytest

from voltpipe.evaluation.comparison import GroupGain
from voltpipe.evaluation.paired_gain import PairedGain
from voltpipe.evaluation.regimes import Regime
from voltpipe.tracking import promotion_rules
from voltpipe.tracking.lineage import BEGAN_FROM_TAG, Lineage, lineages
from voltpipe.tracking.promotion_reasons import (
    BaselineNotBeaten,
    BaselineNotScored,
    BaselinesBeaten,
    BelowChampion,
    ChampionBeaten,
    ChampionHorizonsMissing,
    ChampionNotScored,
    GainTooSmall,
    GroupWorse,
    NoChampion,
    NoRequiredHorizon,
    NoScoresByRecording,
    NoUnseenRecording,
    OtherWindowSet,
    PromotionReason,
    PublishedProtocol,
    RolledBack,
    SmallestGain,
)
from voltpipe.tracking.promotion_rules import ComparisonSet, PromotionRule, choose_comparison_set
from voltpipe.tracking.run_lifecycle import tracked_run
from voltpipe.tracking.settings import PromotionSettings
from voltpipe.tracking.tracked_run import RunInput
from voltpipe.windows.settings import Protocol

ANY = PromotionSettings()


def targets_of(*keys, guarded=()):
    return ComparisonSet(frozenset(keys), frozenset((*keys, *guarded)))


ALL = targets_of("organoid_1--2", "organoid_1--7", "organoid_1--9")

UNEVEN = ({"unknown": 0.03}, {"unknown": 0.004}, {"unknown": 0.002})


def decide(candidate, champion, settings, targets=ALL):
    return promotion_rules.decide_promotion(candidate, champion, targets, settings)


def test_the_first_candidate_that_beats_both_baselines_becomes_champion(evaluation):
    decision = decide(evaluation({1: 0.7, 5: 0.66}), None, ANY)
    assert decision.promoted
    assert decision.decision == "promoted"
    beaten, none_before = decision.reasons
    assert isinstance(beaten, BaselinesBeaten)
    assert (beaten.baselines, beaten.horizons_ms) == (("persistence", "autoregression"), (2.0, 10.0))
    assert none_before == NoChampion()
    assert decision.codes == ("baselines-beaten", "no-champion")


def test_a_candidate_that_equals_a_baseline_at_one_horizon_is_refused(evaluation):
    decision = decide(evaluation({1: 0.7, 5: 0.65}), None, ANY)
    assert not decision.promoted
    assert decision.reasons == (BaselineNotBeaten("autoregression", 10.0, 0.65, 0.65),)


def test_a_horizon_that_is_not_required_may_be_bad(evaluation):
    assert decide(evaluation({1: 0.7, 5: 0.1}), None, PromotionSettings(horizons_samples=(1,))).promoted


def test_a_candidate_without_a_required_horizon_is_refused(evaluation):
    decision = decide(evaluation({1: 0.7}), None, PromotionSettings(horizons_samples=(5,)))
    assert decision.reasons == (NoRequiredHorizon((10.0,)),)


def test_a_baseline_that_was_not_scored_is_not_beaten(evaluation):
    decision = decide(evaluation({1: 0.7}, baselines={"persistence": 0.6}), None, ANY)
    assert decision.reasons == (BaselineNotScored("autoregression", 2.0),)


def test_held_out_time_counts_if_no_recording_is_held_out(evaluation):
    decision = decide(evaluation({1: 0.7}, regime=Regime.TIME), None, ANY)
    assert decision.promoted
    assert "time" in decision.reasons[0].scored_on


def test_a_candidate_scored_with_the_published_protocol_is_refused(evaluation):
    decision = decide(evaluation({1: 0.9}, protocol=Protocol.PUBLISHED), None, ANY)
    assert not decision.promoted
    assert decision.reasons[0] == PublishedProtocol()
    assert decision.failed == {PromotionRule.BEATS_BASELINES}


def test_the_better_mean_over_the_champions_horizons_wins(evaluation):
    champion = evaluation({1: 0.72, 5: 0.68})
    decision = decide(evaluation({1: 0.71, 5: 0.70, 10: 0.66}), champion, ANY)
    assert decision.promoted
    whole = decision.comparison.whole
    assert (whole.r2, whole.other_r2, whole.paired.gain) == pytest.approx((0.705, 0.70, 0.005))
    assert decision.reasons[1] == ChampionBeaten(whole, (2.0, 10.0), ALL.described)
    for figure in ("2 ms, 10 ms", "0.7050", "0.7000", "+0.0050 and +0.0050"):
        assert figure in decision.reason


def test_an_equal_candidate_does_not_replace_the_champion(evaluation):
    decision = decide(evaluation({1: 0.7}), evaluation({1: 0.7}), ANY)
    assert decision.failed == {PromotionRule.BEATS_CHAMPION}
    assert decision.reasons == (GainTooSmall(decision.comparison.whole, (2.0,), ALL.described, 0.001),)
    assert decision.comparison.whole.paired.gain == pytest.approx(0)
    for figure in ("0.7000", "+0.0000", "0.0010"):
        assert figure in decision.reason


@pytest.mark.parametrize(("r2", "promoted"), [(0.724, False), (0.726, True)])
def test_the_gain_must_exceed_the_margin(evaluation, r2, promoted):
    assert decide(evaluation({1: r2}), evaluation({1: 0.7}), PromotionSettings(margin=0.025)).promoted == promoted


def test_a_candidate_without_a_horizon_of_the_champion_is_refused(evaluation):
    decision = decide(evaluation({1: 0.9}), evaluation({1: 0.7, 5: 0.7}), ANY)
    assert decision.reasons == (ChampionHorizonsMissing((10.0,)),)
    assert decision.failed == {PromotionRule.BEATS_CHAMPION}


def test_a_refusal_contains_the_champions_r2(evaluation):
    decision = decide(evaluation({1: 0.31}), evaluation({1: 0.76, 5: 0.7}), ANY)
    assert decision.decision == "refused"
    assert decision.reasons[-1] == BelowChampion(2.0, 0.31, 0.76)


def test_scores_on_different_window_sets_are_not_compared(evaluation):
    decision = decide(evaluation({1: 0.9}, digest="d2"), evaluation({1: 0.7}, digest="d1"), ANY)
    assert decision.reasons == (OtherWindowSet(),)


def test_a_candidate_with_nan_never_wins(evaluation):
    candidate = evaluation({1: 0.9})
    nan = candidate.scores[0].model_copy(update={"r2": float("nan")})
    candidate = candidate.model_copy(update={"scores": (nan, *candidate.scores[1:])})
    assert len(decide(candidate, evaluation({1: 0.7}), ANY).reasons) == 2


def test_a_gain_that_differs_too_much_between_recordings_is_refused(evaluation):
    # The gains 0.030, 0.004 and 0.002 have mean 0.012, SD 0.0156 and standard error 0.009. With t = 2.92, the lower
    # bound is below zero.
    uneven = evaluation({1: 0.7}, by_recording=dict(zip(sorted(ALL.recordings), UNEVEN, strict=True)))
    decision = decide(uneven, evaluation({1: 0.7}), ANY)
    assert decision.comparison.whole.paired.gain == pytest.approx(0.012)
    assert decision.comparison.whole.paired.lower == pytest.approx(0.012 - 2.92 * 0.009, abs=0.001)
    assert decision.failed == {PromotionRule.BEATS_CHAMPION}


def test_only_recordings_that_neither_learned_from_count(evaluation):
    uneven = evaluation({1: 0.7}, by_recording=dict(zip(sorted(ALL.recordings), UNEVEN, strict=True)))
    decision = decide(uneven, evaluation({1: 0.7}), ANY, targets_of("organoid_1--7", "organoid_1--9"))
    assert decision.comparison.whole.paired.gain == pytest.approx(0.003)
    nothing = decide(uneven, evaluation({1: 0.6}), ANY, targets_of())
    assert nothing.reasons == (NoUnseenRecording(),)


@pytest.mark.parametrize(("gain", "promoted"), [(0.009, False), (0.011, True)])
def test_a_single_recording_needs_a_larger_gain(evaluation, gain, promoted):
    alone = targets_of("organoid_1--7")
    decision = decide(evaluation({1: 0.7 + gain}), evaluation({1: 0.7}), ANY, alone)
    assert decision.promoted == promoted
    assert promoted or (decision.codes, decision.reasons[0].margin) == (("gain-too-small",), 0.01)


def test_a_loss_on_one_organoid_is_refused_even_if_the_others_gain(evaluation):
    keys = [f"{organoid}--{number}" for organoid in ("alpha", "beta") for number in range(4)]
    for loss, promoted in ((0.009, True), (0.011, False)):
        candidate = evaluation(
            {1: 0.7}, by_recording={key: {"unknown": 0.04 if key.startswith("alpha") else -loss} for key in keys}
        )
        champion = evaluation({1: 0.7}, by_recording={key: {"unknown": 0.0} for key in keys})
        decision = decide(candidate, champion, PromotionSettings(error_rate=0.2), targets_of(*keys))
        assert decision.promoted == promoted
    assert decision.failed == {PromotionRule.NO_GROUP_WORSE}
    (reason,) = decision.reasons
    assert isinstance(reason, GroupWorse)
    assert reason.group == "organoid beta"
    assert (reason.r2, reason.champion_r2, reason.loss_bound) == pytest.approx((0.689, 0.7, 0.01))


def test_an_organoid_is_guarded_even_if_only_later_recordings_of_others_count(evaluation):
    keys = ["alpha--8", "alpha--9", "beta--2"]
    loses = {"alpha--8": {"unknown": 0.04}, "alpha--9": {"unknown": 0.04}, "beta--2": {"unknown": -0.02}}
    candidate = evaluation({1: 0.7}, by_recording=loses)
    champion = evaluation({1: 0.7}, by_recording={key: {"unknown": 0.0} for key in keys})
    decision = decide(candidate, champion, ANY, targets_of("alpha--8", "alpha--9", guarded=["beta--2"]))
    assert decision.comparison.whole.paired.gain == pytest.approx(0.04)
    assert decision.failed == {PromotionRule.NO_GROUP_WORSE}
    assert decision.reasons[0].group == "organoid beta"


def test_a_loss_on_one_type_of_channel_is_refused_even_if_the_others_gain(evaluation):
    gains = {"excitatory": 0.06, "inhibitory": -0.02}
    candidate = evaluation({1: 0.7}, by_recording=dict.fromkeys(ALL.recordings, gains))
    champion = evaluation({1: 0.7}, by_recording=dict.fromkeys(ALL.recordings, dict.fromkeys(gains, 0.0)))
    decision = decide(candidate, champion, ANY)
    assert decision.comparison.whole.paired.gain == pytest.approx(0.02)
    assert decision.failed == {PromotionRule.NO_GROUP_WORSE}
    assert decision.reasons[0].group == "inhibitory channels"


WHOLE = GroupGain("all", 0.705, 0.7, PairedGain(0.005, 3, 0.004, 0.006))
ALONE = GroupGain("all", 0.705, 0.7, PairedGain(0.005, 1, None, None))
REASONS = (
    PublishedProtocol(),
    NoRequiredHorizon((2.0, 10.0)),
    BaselineNotScored("autoregression", 10.0),
    BaselineNotBeaten("autoregression", 10.0, 0.65, 0.66),
    OtherWindowSet(),
    ChampionHorizonsMissing((2.0, 10.0)),
    BelowChampion(10.0, 0.65, 0.66),
    NoUnseenRecording(),
    NoScoresByRecording(),
    ChampionBeaten(WHOLE, (2.0, 10.0), ALL.described),
    GainTooSmall(WHOLE, (2.0, 10.0), ALL.described, 0.01),
    GainTooSmall(ALONE, (2.0, 10.0), ALL.described, 0.01),
    GroupWorse("organoid beta", 0.65, 0.7, 0.01),
    RolledBack("ada", date(2026, 1, 2), "it hums"),
    ChampionNotScored("1", "too few samples", "too-few", "voltage-forecaster/2"),
    BaselinesBeaten(("persistence", "autoregression"), (2.0, 10.0), "held-out recordings"),
    NoChampion(),
    SmallestGain("organoid beta", 0.005),
)


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.code)
def test_each_reason_consists_of_short_sentences(reason):
    assert reason.text.endswith(".")
    assert reason.text[0].isupper()
    for sentence in reason.text.split(". "):
        assert len(sentence.split()) <= 25


def test_each_reason_has_a_code_of_its_own():
    codes = {type(reason): reason.code for reason in REASONS}
    assert {*PromotionReason.__subclasses__(), *ChampionBeaten.__subclasses__()} == codes.keys()
    assert len(set(codes.values())) == len(codes)


HELD_OUT = {f"org--{number}": f"{number}" * 64 for number in range(1, 8)}


def knew(**roles):
    return Lineage({HELD_OUT[f"org--{name[1:]}"][:32]: role for name, role in roles.items()}, time_fraction=0.15)


def chosen(champion=(), candidate=(), *, regime=Regime.TEST, time_fraction=0.15, fresh=5):
    return choose_comparison_set(HELD_OUT, champion, candidate, regime, time_fraction, fresh_recordings=fresh)


def test_recordings_that_either_learned_from_are_left_out():
    targets = chosen([knew(r1="train", r2="test")], [knew(r3="validation")])
    assert targets.recordings == {"org--2", "org--4", "org--5", "org--6", "org--7"}
    assert not targets.all_fresh


def test_only_recordings_after_the_champion_count_if_there_are_enough():
    champion = knew(r1="test", r2="test")
    assert chosen([champion]).recordings == HELD_OUT.keys() - {"org--1", "org--2"}
    assert chosen([champion]).guarded == HELD_OUT.keys()
    assert chosen([champion]).all_fresh
    assert chosen([champion], fresh=6).recordings == HELD_OUT.keys()


def test_no_recording_is_fresh_if_the_champions_lineage_is_unknown():
    for champion in ([], [Lineage({}, 0.15)]):
        assert not chosen(champion).all_fresh


def test_recordings_that_the_candidate_held_out_are_fresh():
    candidate = knew(**{f"r{number}": "test" for number in range(1, 8)})
    assert chosen([knew(r1="train")], [candidate]).all_fresh


def test_the_end_of_a_recording_counts_if_the_champion_held_out_as_much_of_it():
    champion = knew(r1="train", r2="validation")
    assert chosen([champion], regime=Regime.TIME, fresh=9).recordings == HELD_OUT.keys() - {"org--2"}
    longer = chosen([champion], regime=Regime.TIME, time_fraction=0.3, fresh=9)
    assert longer.recordings == HELD_OUT.keys() - {"org--1", "org--2"}


@pytest.fixture
def trained(store, tmp_path):
    """Log a run that trained on one recording, and return its ID."""

    def train(digest, **tags):
        with tracked_run(store, name="training", identity=digest, tags=tags) as run:
            run.log_parameters({"windows": {"time_fraction": 0.2}})
            run.log_inputs([RunInput(f"org--{digest}", digest * 64, "train", tmp_path / digest)])
        return run.run_id

    return train


def test_lineages_include_the_trainings_that_the_weights_came_from(store, trained):
    first = trained("1")
    second = trained("2", **{BEGAN_FROM_TAG: first})
    own, earlier = lineages(store, second)
    assert own == Lineage({"2" * 32: "train"}, 0.2)
    assert earlier.learned_from("1" * 64, Regime.TEST, 0.15)


def test_a_deleted_run_has_no_lineage(store, trained):
    only = trained("3", **{BEGAN_FROM_TAG: "0" * 32})
    assert len(lineages(store, only)) == 1
    assert lineages(store, None) == ()
