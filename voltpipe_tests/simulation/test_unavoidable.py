"""What no forecaster can know, by the voltage it forecasts from."""

import numpy as np
import pytest
import torch

from voltpipe.simulation.ceiling import HORIZONS_MS, ceiling_in_samples
from voltpipe.simulation.measure_unavoidable import measure_unavoidable_mv2
from voltpipe.simulation.network import draw_network
from voltpipe.simulation.stepper import NetworkState
from voltpipe.simulation.unavoidable import EDGES_MV, unavoidable_mv2

BINS_MV = torch.from_numpy(np.append(EDGES_MV, -49.0) - 1e-3)


@pytest.fixture(scope="module")
def network_mv():
    """Voltages of the shipped organoid, one row a ms."""
    rng = np.random.default_rng(1)
    state = NetworkState.start(draw_network(72)[None], 8, rng)
    state.advance(200, rng)
    rows = []
    for _ in range(300):
        state.advance(1, rng)
        rows.append(state.voltage_mv.ravel())
    return np.stack(rows)


def test_on_average_it_is_what_the_ceiling_says(network_mv):
    least_mv2 = unavoidable_mv2("organoid", 1000.0, HORIZONS_MS, torch.from_numpy(network_mv))
    assert least_mv2 is not None
    r2 = 1 - least_mv2.mean((0, 2)).numpy() / network_mv.var()
    assert r2 == pytest.approx(list(ceiling_in_samples("organoid", 1000.0).r2.values()), abs=0.01)


@pytest.mark.slow
def test_a_small_measurement_agrees_with_the_figures_that_are_shipped():
    measured = measure_unavoidable_mv2(draw_network(3)[None], n_copies=6, n_states=30, n_branches=10, seed=5)
    shipped = unavoidable_mv2("brunel", 1000.0, HORIZONS_MS, BINS_MV).numpy()
    often = slice(2, 18)  # bins that many neurons are in
    assert measured[:2, often] == pytest.approx(shipped[:2, often], rel=0.25)


def test_near_threshold_hardly_anything_can_be_known_and_at_reset_nearly_all():
    at_reset, middle, near = unavoidable_mv2("organoid", 1000.0, (1,), torch.tensor([-70.0, -60.0, -50.6]))[0]
    assert at_reset < middle / 2
    assert near > 50 * middle


@pytest.mark.parametrize(
    ("preparation", "rate_hz", "horizons"),
    [(None, 1000.0, (1,)), ("slice", 1000.0, (1,)), ("organoid", 1000.0, (1, 4))],
)
def test_what_was_not_measured_is_not_known(preparation, rate_hz, horizons):
    assert unavoidable_mv2(preparation, rate_hz, horizons, torch.tensor([-60.0])) is None


def test_horizons_are_counted_in_samples_at_the_given_rate():
    present_mv = torch.tensor([-55.0])
    at_1_khz, at_500_hz = (unavoidable_mv2("brunel", rate, (h,), present_mv) for rate, h in ((1000.0, 2), (500.0, 1)))
    assert at_1_khz.item() == at_500_hz.item()
