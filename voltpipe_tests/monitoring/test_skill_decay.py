"""Decay of skill, with an expected R2 of 0.4 and a bound of 0.02."""

import math

import pytest

from voltpipe.monitoring.settings import DecaySettings
from voltpipe.monitoring.skill_decay import DecayCode, LiveScore, skill_decay

SETTINGS = DecaySettings(recent_recordings=3, decay_bound=0.02)


def decay_of(live):
    scores = [LiveScore(f"{organoid}--{number}", r2) for number, (organoid, r2) in enumerate(live)]
    return skill_decay(scores, {"alpha": 0.4, "beta": 0.4}, SETTINGS)


def test_without_recordings_there_is_no_result():
    assert decay_of([]) == ()


@pytest.mark.parametrize(("r2", "decayed"), [(0.41, False), (0.381, False), (0.379, True), (math.nan, True)])
def test_skill_decayed_if_it_is_lower_by_more_than_the_bound(r2, decayed):
    (alpha,) = decay_of([("alpha", r2)] * 3)
    assert alpha.decayed == decayed


def test_the_mean_over_the_latest_recordings_decides():
    (alpha,) = decay_of([("alpha", 0.1), ("alpha", 0.45), ("alpha", 0.4), ("alpha", 0.32)])
    assert alpha.recordings == ("alpha--1", "alpha--2", "alpha--3")
    assert alpha.live_r2 == pytest.approx(0.39)
    assert (alpha.code, alpha.expected_r2) == (DecayCode.SKILL_HOLDS, 0.4)


def test_too_few_recordings_are_never_a_decay():
    (alpha,) = decay_of([("alpha", 0.0)] * 2)
    assert not alpha.decayed
    assert alpha.code is DecayCode.TOO_FEW_RECORDINGS
    assert (len(alpha.recordings), alpha.required_recordings) == (2, 3)


def test_decay_on_one_organoid_is_not_hidden_by_another():
    alpha, beta = decay_of([("alpha", 0.45), ("beta", 0.3)] * 3)
    assert (alpha.decayed, beta.decayed) == (False, True)
    assert (beta.live_r2, beta.expected_r2, beta.decay_bound) == (pytest.approx(0.3), 0.4, 0.02)
    for figure in ("beta", "0.300", "0.400", "0.02"):
        assert figure in beta.reason


def test_an_organoid_outside_the_training_has_no_result():
    assert decay_of([("gamma", 0.1)] * 3) == ()
