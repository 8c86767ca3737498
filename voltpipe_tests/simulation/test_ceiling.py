import numpy as np
import pytest
import torch
from ceilings.measure_ceiling import measure_ceilings, measure_irreducible_error_mv2
from ceilings.stepper import NetworkState

from voltpipe.simulation.ceiling import (
    EDGES_MV,
    HORIZONS_MS,
    ceiling_by_horizon,
    irreducible_error_mv2,
    observable_ceiling_by_horizon,
)
from voltpipe.simulation.network import draw_network


def test_ceilings_fall_with_the_horizon():
    for preparation in ("brunel", "organoid"):
        r2 = ceiling_by_horizon(preparation, 1000.0).r2
        assert list(r2) == [1, 2, 3, 5, 10, 20]
        assert list(r2.values()) == sorted(r2.values(), reverse=True)


def test_horizons_are_counted_in_samples_at_the_given_rate():
    at_1_khz, at_500_hz = ceiling_by_horizon("brunel", 1000.0), ceiling_by_horizon("brunel", 500.0)
    assert set(at_500_hz.r2) == {1, 5, 10}
    assert at_500_hz.r2[1] == at_1_khz.r2[2]
    assert at_500_hz.standard_error[10] == at_1_khz.standard_error[20]


@pytest.mark.parametrize("preparation", [None, "slice"])
def test_other_preparations_have_no_ceiling(preparation):
    assert ceiling_by_horizon(preparation, 1000.0).r2 == {}
    assert observable_ceiling_by_horizon(preparation, 1000.0).r2 == {}


@pytest.mark.parametrize("preparation", ["brunel", "organoid"])
def test_the_observable_ceiling_is_slightly_lower_and_only_at_short_horizons(preparation):
    full, observable = (
        of_preparation(preparation, 1000.0).r2 for of_preparation in (ceiling_by_horizon, observable_ceiling_by_horizon)
    )
    hidden = np.array([full[horizon] - observable[horizon] for horizon in (1, 2, 3, 5, 10, 20)])
    assert 0.001 < hidden[0] < 0.01
    assert np.all(hidden > -5e-4)
    assert abs(hidden[-1]) < 5e-4


@pytest.fixture(scope="module")
def small(slow_to_make):
    return measure_ceilings(draw_network(72)[None], n_copies=12, n_states=4, n_branches=8, n_particles=64, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 2, 5, 20])
@pytest.mark.parametrize("which", ["full_state", "observable"])
def test_a_small_measurement_agrees_with_the_shipped_ceilings(small, horizon, which):
    of_preparation = {"full_state": ceiling_by_horizon, "observable": observable_ceiling_by_horizon}[which]
    measured, shipped = getattr(small, which), of_preparation("organoid", 1000.0)
    assert 0 < measured.standard_error[horizon] < 0.02
    off = measured.r2[horizon] - shipped.r2[horizon]
    assert abs(off) < 4 * np.hypot(measured.standard_error[horizon], shipped.standard_error[horizon])


def test_the_hidden_share_is_the_difference_of_both_ceilings(small):
    for horizon, hidden in small.hidden.r2.items():
        assert hidden == pytest.approx(small.full_state.r2[horizon] - small.observable.r2[horizon])
    # Both were measured with the same noise, so their difference is more precise than either.
    assert small.hidden.standard_error[1] < small.full_state.standard_error[1] / 3
    assert small.hidden.r2[1] > 0


def test_without_connections_only_the_refractory_period_is_hidden(small):
    unconnected = np.zeros((1, 100, 100), np.float32)
    hidden = measure_ceilings(unconnected, n_copies=6, n_states=4, n_branches=8, n_particles=16, seed=0).hidden
    assert 0 < hidden.r2[1] < small.hidden.r2[1]


BINS_MV = torch.from_numpy(np.append(EDGES_MV, -49.0) - 1e-3)


@pytest.fixture(scope="module")
def network_mv(slow_to_make):
    """Voltages of the shipped organoid, one row per ms."""
    rng = np.random.default_rng(1)
    state = NetworkState.start(draw_network(72)[None], 8, rng)
    state.advance(200, rng)
    rows = []
    for _ in range(300):
        state.advance(1, rng)
        rows.append(state.voltage_mv.ravel())
    return np.stack(rows)


def test_the_mean_irreducible_error_agrees_with_the_ceiling(network_mv):
    least_mv2 = irreducible_error_mv2("organoid", 1000.0, HORIZONS_MS, torch.from_numpy(network_mv))
    assert least_mv2 is not None
    r2 = 1 - least_mv2.mean((0, 2)).numpy() / network_mv.var()
    assert r2 == pytest.approx(list(ceiling_by_horizon("organoid", 1000.0).r2.values()), abs=0.01)


@pytest.mark.slow
def test_a_small_measurement_of_irreducible_error_agrees_with_the_shipped_values():
    measured = measure_irreducible_error_mv2(draw_network(3)[None], n_copies=6, n_states=30, n_branches=10, seed=5)
    shipped = irreducible_error_mv2("brunel", 1000.0, HORIZONS_MS, BINS_MV).numpy()
    often = slice(2, 18)  # bins with many neurons
    assert measured[:2, often] == pytest.approx(shipped[:2, often], rel=0.25)


def test_the_irreducible_error_is_large_near_threshold_and_small_at_reset():
    at_reset, middle, near = irreducible_error_mv2("organoid", 1000.0, (1,), torch.tensor([-70.0, -60.0, -50.6]))[0]
    assert at_reset < middle / 2
    assert near > 50 * middle


@pytest.mark.parametrize(
    ("preparation", "rate_hz", "horizons"),
    [(None, 1000.0, (1,)), ("slice", 1000.0, (1,)), ("organoid", 1000.0, (1, 4))],
)
def test_without_a_measurement_there_is_no_irreducible_error(preparation, rate_hz, horizons):
    assert irreducible_error_mv2(preparation, rate_hz, horizons, torch.tensor([-60.0])) is None


def test_horizons_of_irreducible_error_are_counted_in_samples_at_the_given_rate():
    present_mv = torch.tensor([-55.0])
    at_1_khz, at_500_hz = (
        irreducible_error_mv2("brunel", rate, (h,), present_mv) for rate, h in ((1000.0, 2), (500.0, 1))
    )
    assert at_1_khz.item() == at_500_hz.item()
