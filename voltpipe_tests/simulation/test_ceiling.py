import numpy as np
import pytest

from voltpipe.simulation.ceiling import ceiling_in_samples
from voltpipe.simulation.measure_ceiling import measure_ceiling
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


def test_a_small_measurement_agrees_with_the_figures_that_are_shipped():
    measured = measure_ceiling(draw_network(72)[None], n_copies=12, n_states=4, n_branches=8, seed=0)
    shipped = ceiling_in_samples("organoid", 1000.0)
    for horizon in (1, 2, 5, 20):
        assert 0 < measured.standard_error[horizon] < 0.02
        off = measured.r2[horizon] - shipped.r2[horizon]
        assert abs(off) < 4 * np.hypot(measured.standard_error[horizon], shipped.standard_error[horizon])
