from dataclasses import replace

import numpy as np

from voltpipe.simulation.network import BRUNEL_NETWORK, draw_network


def test_a_tenth_of_all_pairs_is_connected_and_the_source_sets_the_sign():
    weights_mv = np.stack([draw_network(seed) for seed in range(20)])
    assert abs(np.mean(weights_mv != 0) - 0.1) < 0.003
    assert set(np.unique(weights_mv[:, :80])) == {0, np.float32(0.5)}
    assert set(np.unique(weights_mv[:, 80:])) == {0, np.float32(-2.75)}


def test_a_neuron_may_drive_itself():
    assert any(np.diag(draw_network(seed)).any() for seed in range(5))


def test_the_same_seed_gives_the_same_connections_with_other_weights():
    stronger = replace(BRUNEL_NETWORK, inhibitory_mv=2 * BRUNEL_NETWORK.inhibitory_mv)
    assert np.array_equal(draw_network(72, stronger)[80:], 2 * draw_network(72)[80:])
    assert np.array_equal(draw_network(72, stronger)[:80], draw_network(72)[:80])
    assert draw_network(72, replace(BRUNEL_NETWORK, n_excitatory=160, n_inhibitory=40)).shape == (200, 200)
