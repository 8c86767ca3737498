from pathlib import Path

import numpy as np
import pytest

from voltpipe.simulation.network import draw_network
from voltpipe.simulation.settings import SimulationSettings
from voltpipe.simulation.simulate import simulate
from voltpipe.simulation.simulated_recording import SimulatedRecording

_PUBLISHED = Path(__file__).parent / "data" / "brunel_run0_spikes.npz"


def test_recording_0_is_the_published_one_spike_for_spike(brunel_run_0: SimulatedRecording):
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


def test_after_a_spike_two_samples_are_at_reset(brunel_run_0: SimulatedRecording):
    first_sample = np.floor(brunel_run_0.spike_times_ms).astype(int) + 1
    seen = first_sample + 2 < len(brunel_run_0.voltage_mv)
    neurons, first_sample = brunel_run_0.spike_neurons[seen], first_sample[seen]
    assert np.all(brunel_run_0.voltage_mv[first_sample, neurons] == -70)
    assert np.all(brunel_run_0.voltage_mv[first_sample + 1, neurons] == -70)
    assert np.mean(brunel_run_0.voltage_mv[first_sample + 2, neurons] == -70) < 0.001


def test_excitatory_weights_are_half_a_millivolt_and_inhibitory_ones_minus_2_75(brunel_run_0: SimulatedRecording):
    weights_mv = brunel_run_0.weights_mv
    assert set(np.unique(weights_mv[:80])) == {0, np.float32(0.5)}
    assert set(np.unique(weights_mv[80:])) == {0, np.float32(-2.75)}
    assert np.count_nonzero(weights_mv[:80]) == 820
    assert np.count_nonzero(weights_mv[80:]) == 211


def test_the_facts_suffice_to_simulate_the_recording_again(brunel_run_0: SimulatedRecording):
    assert brunel_run_0.name == "run_000"
    assert brunel_run_0.facts == {
        "preparation": "brunel",
        "run": 0,
        "network_seed": 72,
        "recording_seed": 72,
        "code_target": "cython",
    }


@pytest.fixture(scope="module")
def later_recordings(compiled: Path) -> list[SimulatedRecording]:
    """Recordings 2 to 10, shorter, simulated in another call and in two groups."""
    return list(simulate(SimulationSettings(first_recording=2, n_recordings=9, seconds=1.2), compiled))


def test_all_recordings_are_of_the_network_of_the_seed(organoid_recordings, later_recordings):
    for recording in (*organoid_recordings, *later_recordings):
        np.testing.assert_array_equal(recording.weights_mv, draw_network(72))
    assert not np.array_equal(draw_network(72), draw_network(73))


def test_recordings_differ_in_their_noise(organoid_recordings, later_recordings):
    recordings = [*organoid_recordings[:2], *later_recordings]
    assert [recording.name for recording in recordings] == [f"run_{run:03d}" for run in range(11)]
    correlations = np.corrcoef([recording.voltage_mv[:1200, 0] for recording in recordings])
    assert np.abs(correlations[~np.eye(11, dtype=bool)]).max() < 0.3


def test_a_recording_does_not_depend_on_the_others_of_the_call(organoid_recordings, later_recordings):
    before, again = organoid_recordings[2], later_recordings[0]
    assert before.facts == again.facts
    np.testing.assert_array_equal(before.voltage_mv[:1200], again.voltage_mv)
    early = before.spike_times_ms < 1200
    np.testing.assert_array_equal(before.spike_times_ms[early], again.spike_times_ms)
    np.testing.assert_array_equal(before.spike_neurons[early], again.spike_neurons)


def test_a_spike_shifts_its_targets_on_average_by_the_weight(organoid_recordings):
    """From 1 to 3 ms after a spike of an inhibitory neuron, its targets fall relative to all other neurons."""
    targets = draw_network(72)[80:] < 0
    shifts_mv = np.zeros((2, 0))
    for recording in organoid_recordings:
        inhibitory = (
            (recording.spike_neurons >= 80) & (recording.spike_times_ms > 100) & (recording.spike_times_ms < 1490)
        )
        for time_ms, sender in zip(
            recording.spike_times_ms[inhibitory], recording.spike_neurons[inhibitory] - 80, strict=True
        ):
            sample = int(np.floor(time_ms)) + 1
            change_mv = recording.voltage_mv[sample + 2] - recording.voltage_mv[sample]
            pair = [[change_mv[targets[sender]].mean()], [change_mv[~targets[sender]].mean()]]
            shifts_mv = np.append(shifts_mv, pair, axis=1)
    driven_mv, others_mv = shifts_mv.mean(axis=1)
    assert -2.75 < driven_mv - others_mv < -1.0
