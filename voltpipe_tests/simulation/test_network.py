import numpy as np

from voltpipe.simulation.network import draw_network


def test_a_tenth_of_all_pairs_is_connected_and_the_sign_is_the_sources():
    weights_mv = np.stack([draw_network(seed) for seed in range(20)])
    assert abs(np.mean(weights_mv != 0) - 0.1) < 0.003
    assert set(np.unique(weights_mv[:, :80])) == {0, np.float32(0.5)}
    assert set(np.unique(weights_mv[:, 80:])) == {0, np.float32(-2.75)}


def test_a_neuron_may_drive_itself():
    assert any(np.diag(draw_network(seed)).any() for seed in range(5))
