from pathlib import Path

import numpy as np

from voltpipe.simulation.simulated_recording import SimulatedRecording

_PUBLISHED = Path(__file__).parent / "data" / "brunel_run0_spikes.npz"


def test_run_0_is_the_published_one_spike_for_spike(brunel_run_0: SimulatedRecording):
    with np.load(_PUBLISHED) as published:
        steps, neurons = published["spike_steps"], published["neurons"]
    assert len(steps) == 29_451
    np.testing.assert_array_equal(np.rint(brunel_run_0.spike_times_ms * 10), steps)
    np.testing.assert_array_equal(brunel_run_0.spike_neurons, neurons)
    assert brunel_run_0.code_target == "cython"


def test_ten_seconds_of_100_neurons_are_10_000_samples_at_1_khz(brunel_run_0: SimulatedRecording):
    assert brunel_run_0.voltage_mv.shape == (10_000, 100)
    assert brunel_run_0.rate_hz == 1000
    assert brunel_run_0.neuron_types == ("excitatory",) * 80 + ("inhibitory",) * 20


def test_a_spike_is_seen_as_two_samples_at_reset(brunel_run_0: SimulatedRecording):
    first_sample = np.floor(brunel_run_0.spike_times_ms).astype(int) + 1
    seen = first_sample + 2 < len(brunel_run_0.voltage_mv)
    neurons, first_sample = brunel_run_0.spike_neurons[seen], first_sample[seen]
    assert np.all(brunel_run_0.voltage_mv[first_sample, neurons] == -70)
    assert np.all(brunel_run_0.voltage_mv[first_sample + 1, neurons] == -70)
    assert np.mean(brunel_run_0.voltage_mv[first_sample + 2, neurons] == -70) < 0.001


def test_excitatory_neurons_add_half_a_millivolt_and_inhibitory_ones_take_2_75(brunel_run_0: SimulatedRecording):
    weights_mv = brunel_run_0.weights_mv
    assert set(np.unique(weights_mv[:80])) == {0, np.float32(0.5)}
    assert set(np.unique(weights_mv[80:])) == {0, np.float32(-2.75)}
    assert np.count_nonzero(weights_mv[:80]) == 820
    assert np.count_nonzero(weights_mv[80:]) == 211


def test_the_facts_tell_how_to_simulate_the_run_again(brunel_run_0: SimulatedRecording):
    assert brunel_run_0.name == "run_000"
    assert brunel_run_0.facts == {
        "preparation": "brunel",
        "run": 0,
        "network_seed": 72,
        "recording_seed": 72,
        "code_target": "cython",
    }
