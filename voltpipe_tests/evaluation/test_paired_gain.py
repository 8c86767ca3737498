"""Bounds of a gain match values by hand, and their error rate holds on random recordings."""

import numpy as np
import pytest

from voltpipe.evaluation.paired_gain import paired_gain


def gain_of(gains, *, error_rate=0.05):
    """Return the paired gain at one horizon, on recordings of equal variance with these gains of R2."""
    total = np.full((len(gains), 1), 100.0)
    return paired_gain(50 - 100 * np.array(gains)[:, None], np.full_like(total, 50.0), total, error_rate=error_rate)


def test_the_gain_is_that_of_the_pooled_r2_averaged_over_horizons():
    own, other = np.array([[10.0, 30.0], [40.0, 50.0]]), np.array([[20.0, 30.0], [50.0, 80.0]])
    paired = paired_gain(own, other, np.array([[100.0, 100.0], [300.0, 100.0]]), error_rate=0.05)
    assert paired.gain == pytest.approx(((20 / 400) + (30 / 200)) / 2)


def test_bounds_are_those_of_student_if_recordings_have_equal_weight():
    gains = [0.01, 0.02, 0.03, 0.06]
    paired = gain_of(gains)
    # t with 3 degrees of freedom is 2.353; the bootstrap's standard error is right to a few per cent
    assert paired.gain - paired.lower == pytest.approx(2.353 * np.std(gains, ddof=1) / 2, rel=0.05)
    assert paired.upper - paired.gain == pytest.approx(paired.gain - paired.lower)


def test_one_recording_gives_no_bounds():
    assert (gain_of([0.02]).lower, gain_of([0.02]).upper) == (None, None)


def test_the_same_scores_give_the_same_bounds():
    assert gain_of([0.01, 0.03, 0.02]) == gain_of([0.01, 0.03, 0.02])


@pytest.mark.parametrize("n_recordings", [2, 3, 8])
def test_an_equal_forecaster_passes_at_the_error_rate(n_recordings):
    drawn = np.random.default_rng(n_recordings).normal(0, 0.003, (600, n_recordings))
    passed = np.mean([gain_of(gains).lower > 0 for gains in drawn])
    assert passed == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 600))


@pytest.mark.parametrize(("n_recordings", "found"), [(2, 0.62), (3, 0.99), (8, 1.0)])
def test_three_recordings_detect_a_gain_of_four_between_recording_sds(n_recordings, found):
    """Power: with the demo's gain of 0.02, recordings may differ by 0.005. Exact values by the noncentral t."""
    drawn = np.random.default_rng(n_recordings).normal(0.02, 0.005, (300, n_recordings))
    passed = np.mean([gain_of(gains).lower > 0 for gains in drawn])
    assert passed == pytest.approx(found, abs=0.06)
