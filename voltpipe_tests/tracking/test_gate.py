"""The gate: each rule by itself, at 500 Hz, where 5 samples are 10 ms."""

import pytest

from voltpipe.evaluation.regimes import Regime
from voltpipe.tracking.gate import decide
from voltpipe.tracking.settings import GateSettings
from voltpipe.windows.settings import Protocol

ANY = GateSettings()


def test_the_first_that_beats_both_baselines_becomes_champion(evaluation):
    decision = decide(evaluation({1: 0.7, 5: 0.66}), None, ANY)
    assert decision.promoted
    assert decision.decision == "promoted"
    assert decision.reasons == (
        "it beats persistence and autoregression at 2 ms, 10 ms on held-out recordings",
        "there was no champion",
    )


def test_one_that_only_equals_a_baseline_at_one_horizon_is_refused(evaluation):
    decision = decide(evaluation({1: 0.7, 5: 0.65}), None, ANY)
    assert not decision.promoted
    assert decision.reasons == ("R2 at 10 ms, 0.650, is not above that of autoregression, 0.650",)


def test_a_horizon_that_is_not_judged_may_be_bad(evaluation):
    assert decide(evaluation({1: 0.7, 5: 0.1}), None, GateSettings(horizons_samples=(1,))).promoted


def test_one_that_forecasts_no_judged_horizon_is_refused(evaluation):
    decision = decide(evaluation({1: 0.7}), None, GateSettings(horizons_samples=(5,)))
    assert decision.reasons == ("it forecasts none of the horizons to be judged (10 ms)",)


def test_a_baseline_that_was_not_scored_is_not_beaten(evaluation):
    decision = decide(evaluation({1: 0.7}, baselines={"persistence": 0.6}), None, ANY)
    assert decision.reasons == ("autoregression was not scored at 2 ms, so it cannot be said to be beaten",)


def test_held_out_time_decides_where_no_recording_is_held_out(evaluation):
    decision = decide(evaluation({1: 0.7}, regime=Regime.TIME), None, ANY)
    assert decision.promoted
    assert decision.reasons[0].endswith("on held-out time")


def test_the_published_protocol_never_makes_a_champion(evaluation):
    decision = decide(evaluation({1: 0.9}, protocol=Protocol.PUBLISHED), None, ANY)
    assert not decision.promoted
    assert "published protocol" in decision.reasons[0]


def test_the_better_mean_over_the_champions_horizons_wins(evaluation):
    champion = evaluation({1: 0.72, 5: 0.68})
    decision = decide(evaluation({1: 0.71, 5: 0.70, 10: 0.66}), champion, ANY)
    assert decision.promoted
    assert decision.figures == pytest.approx({"candidate": 0.705, "champion": 0.70})
    assert decision.reasons[1] == "mean R2 over 2 ms, 10 ms, 0.7050, is above the champion's, 0.7000"


def test_an_equal_does_not_displace_the_champion(evaluation):
    decision = decide(evaluation({1: 0.7}), evaluation({1: 0.7}), ANY)
    assert decision.reasons == ("mean R2 over 2 ms, 0.7000, is not above the champion's, 0.7000",)


@pytest.mark.parametrize(("r2", "promoted"), [(0.724, False), (0.726, True)])
def test_a_margin_must_be_reached(evaluation, r2, promoted):
    assert decide(evaluation({1: r2}), evaluation({1: 0.7}), GateSettings(margin=0.025)).promoted == promoted


def test_one_that_lacks_a_horizon_of_the_champion_is_refused_however_good(evaluation):
    decision = decide(evaluation({1: 0.9}), evaluation({1: 0.7, 5: 0.7}), ANY)
    assert decision.reasons == ("it does not forecast at 10 ms, as the champion does",)


def test_a_refusal_names_the_champions_figure(evaluation):
    decision = decide(evaluation({1: 0.31}), evaluation({1: 0.76, 5: 0.7}), ANY)
    assert decision.decision == "refused"
    assert decision.reasons[-1] == "R2 at 2 ms, 0.310, is below the champion's, 0.760"


def test_other_held_out_targets_cannot_be_compared(evaluation):
    decision = decide(evaluation({1: 0.9}, digest="d2"), evaluation({1: 0.7}, digest="d1"), ANY)
    assert decision.reasons == (
        "it and the champion were scored on different held-out targets; evaluate both on the same window set",
    )


def test_no_comparison_with_nan_counts_as_won(evaluation):
    candidate = evaluation({1: 0.9})
    nan = candidate.scores[0].model_copy(update={"r2": float("nan")})
    candidate = candidate.model_copy(update={"scores": (nan, *candidate.scores[1:])})
    assert len(decide(candidate, evaluation({1: 0.7}), ANY).reasons) == 3
