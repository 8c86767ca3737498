import numpy as np
import pytest

from voltpipe.simulation.ceiling import ceiling_in_samples, observable_ceiling_in_samples
from voltpipe.simulation.measure_ceiling import measure_ceilings
from voltpipe.simulation.network import draw_network


def test_the_further_ahead_the_less_can_be_known():
    for preparation in ("brunel", "organoid"):
        r2 = ceiling_in_samples(preparation, 1000.0).r2
        assert list(r2) == [1, 2, 3, 5, 10, 20]
        assert list(r2.values()) == sorted(r2.values(), reverse=True)


def test_horizons_are_counted_in_samples_at_the_given_rate():
    at_1_khz, at_500_hz = ceiling_in_samples("brunel", 1000.0), ceiling_in_samples("brunel", 500.0)
    assert set(at_500_hz.r2) == {1, 5, 10}
    assert at_500_hz.r2[1] == at_1_khz.r2[2]
    assert at_500_hz.standard_error[10] == at_1_khz.standard_error[20]


@pytest.mark.parametrize("preparation", [None, "slice"])
def test_of_real_tissue_nobody_knows_the_ceiling(preparation):
    assert ceiling_in_samples(preparation, 1000.0).r2 == {}
    assert observable_ceiling_in_samples(preparation, 1000.0).r2 == {}


@pytest.mark.parametrize("preparation", ["brunel", "organoid"])
def test_samples_hide_little_and_only_of_what_is_near(preparation):
    full, observable = (
        of_preparation(preparation, 1000.0).r2 for of_preparation in (ceiling_in_samples, observable_ceiling_in_samples)
    )
    hidden = np.array([full[horizon] - observable[horizon] for horizon in (1, 2, 3, 5, 10, 20)])
    assert 0.001 < hidden[0] < 0.01
    assert np.all(hidden > -5e-4)
    assert abs(hidden[-1]) < 5e-4


@pytest.fixture(scope="module")
def small():
    return measure_ceilings(draw_network(72)[None], n_copies=12, n_states=4, n_branches=8, n_particles=64, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 2, 5, 20])
@pytest.mark.parametrize("which", ["full_state", "observable"])
def test_a_small_measurement_agrees_with_the_figures_that_are_shipped(small, horizon, which):
    of_preparation = {"full_state": ceiling_in_samples, "observable": observable_ceiling_in_samples}[which]
    measured, shipped = getattr(small, which), of_preparation("organoid", 1000.0)
    assert 0 < measured.standard_error[horizon] < 0.02
    off = measured.r2[horizon] - shipped.r2[horizon]
    assert abs(off) < 4 * np.hypot(measured.standard_error[horizon], shipped.standard_error[horizon])


def test_what_samples_hide_is_the_difference_of_both_ceilings(small):
    for horizon, hidden in small.hidden.r2.items():
        assert hidden == pytest.approx(small.full_state.r2[horizon] - small.observable.r2[horizon])
    # The same noise went into both, so the difference is known far better than either.
    assert small.hidden.standard_error[1] < small.full_state.standard_error[1] / 3
    assert small.hidden.r2[1] > 0


def test_without_connections_only_the_refractory_period_is_hidden(small):
    unconnected = np.zeros((1, 100, 100), np.float32)
    hidden = measure_ceilings(unconnected, n_copies=6, n_states=4, n_branches=8, n_particles=16, seed=0).hidden
    assert 0 < hidden.r2[1] < small.hidden.r2[1]
