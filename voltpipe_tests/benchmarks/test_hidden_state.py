import numpy as np
import pytest
from ceilings.hidden_state import sample_hidden_states
from ceilings.sample_odds import log_density_of_gain, spike_step_odds
from ceilings.stepper import NetworkState

from voltpipe.simulation.network import draw_network

WEIGHT_MV = -2.75
TWO_NEURONS = np.array([[[0, WEIGHT_MV], [0, 0]]], np.float32)
"""Neuron 0 inhibits neuron 1."""


def draw_states(*samples_mv: tuple[float, float], n_draws: int = 400) -> NetworkState:
    """Draw states given samples of (neuron 0, neuron 1)."""
    samples = np.array(samples_mv, np.float32)[:, None, None]
    rng = np.random.default_rng(0)
    return sample_hidden_states(TWO_NEURONS, samples, n_draws=n_draws, n_particles=400, rng=rng)


def steps_until_arrival(state: NetworkState) -> np.ndarray:
    """Return the steps until the spike of neuron 0 arrives, one per draw; -1 if it has arrived."""
    in_flight = np.stack([spikes[0, :, 0] for spikes in state.in_flight])
    return np.where(in_flight.any(axis=0), in_flight.argmax(axis=0), -1)


def test_the_time_of_a_spike_between_samples_is_unknown_so_half_arrive_before_the_next():
    # Steps 1 to 10 before the sample and a delay of 15 steps leave 5 to 14 steps; 5 to 9 are before the next sample.
    arrives_in = steps_until_arrival(draw_states((-51, -60), (-70, -60)))

    assert set(arrives_in) == set(range(5, 15))
    assert np.mean(arrives_in < 10) == pytest.approx(0.5, abs=0.08)


def test_a_neuron_above_threshold_in_a_sample_spikes_in_the_next_step():
    # It spikes in step 1 of 10. At the sample it stays at reset for 20 - 10 more steps; its spike needs 15 - 10 more.
    state = draw_states((-60, -60), (-49, -60), (-70, -60))

    assert set(state.clamped_steps[0, :, 0]) == {10}
    assert set(steps_until_arrival(state)) == {5}


@pytest.mark.parametrize(("next_mv", "has_arrived"), [(-58.0, False), (-62.75, True)])
def test_an_arrival_seen_in_the_samples_is_not_applied_again(next_mv, has_arrived):
    # From -60, neuron 1 decays to -61.0, and each external input adds nearly 0.5 mV. It reaches -58 with 6 inputs, or
    # after an arrival with 12, which is over 100 times rarer. It reaches -62.75 only by an arrival.
    state = draw_states((-51, -60), (-70, -60), (-70, next_mv))

    arrives_in, clamped_steps = steps_until_arrival(state), state.clamped_steps[0, :, 0]
    if has_arrived:
        # It spiked in steps 1 to 5 of the first sample, so 0 to 4 of the 20 steps at reset are left.
        assert set(arrives_in) == {-1}
        assert set(clamped_steps) == set(range(5))
    else:
        assert np.mean(arrives_in >= 0) > 0.98
        assert set(arrives_in) <= {-1, *range(5)}
        assert np.mean(clamped_steps >= 5) > 0.98


def test_without_spikes_nothing_is_hidden():
    state = draw_states((-60, -60), (-60.2, -59), (-60.1, -59.5), n_draws=3)

    assert not np.any(state.clamped_steps)
    assert not np.any(state.in_flight)
    np.testing.assert_array_equal(state.voltage_mv, np.array([[[-60.1, -59.5]] * 3], np.float32))


@pytest.fixture(scope="module")
def past_and_state():
    """The last 6 samples of 60 copies of a network, and the states at the last one."""
    rng = np.random.default_rng(0)
    state = NetworkState.start(draw_network(72)[None], 60, rng)
    state.advance(100, rng)
    samples_mv = []
    for _ in range(6):
        state.advance(1, rng)
        samples_mv.append(state.voltage_mv)
    return np.stack(samples_mv), state


@pytest.mark.slow
def test_draws_are_calibrated(past_and_state):
    samples_mv, state = past_and_state
    rng = np.random.default_rng(1)
    drawn = sample_hidden_states(state.weights_mv, samples_mv, n_draws=40, n_particles=128, rng=rng)

    at_reset = samples_mv[-1] == -70
    assert at_reset.sum() > 200
    drawn_steps = drawn.clamped_steps.reshape(1, 60, 40, 100).mean(axis=2)[at_reset]
    true_steps = state.clamped_steps[at_reset]
    assert drawn_steps.mean() == pytest.approx(true_steps.mean(), abs=0.4)
    # With only the sample of the spike known, the error would be the standard deviation over 10 steps, 2.9.
    off = np.sqrt(np.mean((drawn_steps - true_steps) ** 2))
    assert off < 2.3
    soon = np.stack(drawn.in_flight[:5]).any(axis=0).reshape(1, 60, 40, 100).mean(axis=2)
    truly_soon = np.stack(state.in_flight[:5]).any(axis=0)
    second = at_reset & (samples_mv[-2] == -70)
    likely, unlikely = second & (soon > 0.8), second & (soon < 0.2)
    assert truly_soon[likely].mean() > 0.8
    assert truly_soon[unlikely].mean() < 0.2


def test_transition_probabilities_agree_with_the_simulator():
    rng = np.random.default_rng(0)
    n = 20_000
    voltage_mv = np.full((1, n, 2), (-65.0, -51.0), np.float32)
    silent = np.zeros(voltage_mv.shape, bool)
    arriving = silent.copy()
    arriving[:, :, 0] = True
    coupled = np.array([[[0, 0.5], [0, 0]]], np.float32)
    in_flight = (*(silent,) * 4, arriving, *(silent,) * 10)
    state = NetworkState(coupled, voltage_mv, np.zeros(voltage_mv.shape, np.int16), in_flight)
    spiked = []
    for _ in range(10):
        state._step(rng)
        spiked.append(np.mean(state.clamped_steps[0, :, 1] == 19))

    # Neuron 1 is 1 mV below threshold, and 0.5 mV arrives in the fifth step.
    arriving_mv = np.zeros((1, 10), np.float32)
    arriving_mv[0, 4] = 0.5
    odds = spike_step_odds(np.array([-51], np.float32), arriving_mv)[0]
    np.testing.assert_allclose(odds, spiked, atol=0.006)
    # Neuron 0 is far from threshold, so the density of its gain beyond the decay is that of the table.
    gain_mv = state.voltage_mv[0, :, 0] + 70 - 5 * np.float32(0.99**10)
    edges_mv = np.arange(0, 4, 0.1, np.float32)
    fine_mv = np.arange(0, 3.9, 0.005, np.float32)
    density = np.exp(log_density_of_gain(fine_mv, np.full(len(fine_mv), 10))).reshape(-1, 20).mean(axis=1)
    np.testing.assert_allclose(np.histogram(gain_mv, edges_mv)[0] / n / 0.1, density, atol=0.03)
