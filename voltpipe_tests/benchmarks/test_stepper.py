from dataclasses import replace

import numpy as np
import pytest
from ceilings.stepper import NetworkState

from voltpipe.simulation.network import draw_network


@pytest.fixture
def resting() -> NetworkState:
    """One copy of one network, all neurons far below threshold."""
    state = NetworkState.start(draw_network(0)[None], 1, np.random.default_rng(0))
    state.voltage_mv[:] = -70
    return state


def _after(state: NetworkState, n_samples: int) -> NetworkState:
    branch = state.branch(1)
    branch.advance(n_samples, np.random.default_rng(1))
    return branch


def test_a_spike_arrives_1_5_ms_later_and_shifts_each_target_by_the_weight(resting):
    spiking = resting.branch(1)
    spiking.voltage_mv[0, 0, 85] = 0
    difference_mv = [
        _after(spiking, n_samples).voltage_mv[0, 0] - _after(resting, n_samples).voltage_mv[0, 0]
        for n_samples in (1, 2)
    ]
    others = np.arange(100) != 85
    np.testing.assert_allclose(difference_mv[0][others], 0)
    # The spike arrives in the step that ends at 1.6 ms. Four steps of 0.1 ms with a time constant of 10 ms follow.
    expected_mv = resting.weights_mv[0, 85] * 0.99**4
    np.testing.assert_allclose(difference_mv[1][others], expected_mv[others], atol=1e-4)


def test_a_neuron_that_spikes_stays_at_reset_for_2_ms_and_loses_its_input(resting):
    resting.voltage_mv[0, 0, 3] = 0
    assert _after(resting, 1).voltage_mv[0, 0, 3] == -70
    assert _after(resting, 2).voltage_mv[0, 0, 3] == -70
    assert _after(resting, 3).voltage_mv[0, 0, 3] != -70


def test_branches_share_only_the_past(resting):
    branches = resting.branch(3)
    assert branches.voltage_mv.shape == (1, 3, 100)
    branches.advance(1, np.random.default_rng(0))
    assert len(np.unique(branches.voltage_mv[0, :, 0])) == 3
    assert np.all(resting.voltage_mv == -70)


def test_the_stepper_agrees_with_brian2(organoid_recordings):
    """For the same network, spikes per second, mean and standard deviation of the voltage agree after settling."""
    state = NetworkState.start(draw_network(72)[None], 16, np.random.default_rng(0))
    state.advance(100, np.random.default_rng(1))
    sampled_mv = []
    for seed in range(60):
        state.advance(5, np.random.default_rng(seed))
        sampled_mv.append(state.voltage_mv.reshape(-1, 100))
    own_mv = np.concatenate(sampled_mv)
    brian_mv = np.concatenate([recording.voltage_mv[100:] for recording in organoid_recordings])
    assert own_mv.mean() == pytest.approx(brian_mv.mean(), abs=0.1)
    assert own_mv.std() == pytest.approx(brian_mv.std(), rel=0.01)
    assert np.mean(own_mv == -70) == pytest.approx(np.mean(brian_mv == -70), rel=0.03)


def test_without_input_from_outside_nothing_spikes(resting):
    """Only noise is left: 0.5 mV per 0.1 ms step with a decay of 10 ms gives 0.05 / sqrt(0.02) = 0.35 mV."""
    state = replace(resting, external_rate_hz=0.0)
    state.advance(200, np.random.default_rng(0))
    assert (state.voltage_mv != -70).all()
    assert state.voltage_mv.mean() == pytest.approx(-70, abs=0.15)
    assert state.voltage_mv.std() == pytest.approx(0.35, rel=0.3)
