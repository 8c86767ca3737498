"""The connectivity of a simulated network is recovered from training rows only."""

import math

import numpy as np
import pytest
import torch

from voltpipe.evaluation.connectivity_scores import connectivity_accuracy
from voltpipe.forecasting.connectivity.connectivity import Connectivity, SenderType
from voltpipe.forecasting.connectivity.coupling_features import spike_probabilities
from voltpipe.forecasting.connectivity.estimation import estimate_connectivity
from voltpipe.forecasting.connectivity.mixture_prior import CouplingPrior, Posterior
from voltpipe.signals.spike_detection import ResetVoltage, spike_onsets
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet


def estimated(window_set: WindowSet, n_lags: int = 3) -> Connectivity:
    """Estimate the connectivity of the only organoid."""
    training = estimate_connectivity(window_set, n_lags=n_lags)
    assert training
    return training.estimator.connectivity(*training.by_organoid[0].measured_mv(training.estimator.delay_profile))


@pytest.fixture(scope="module")
def connectivity(planted_windows) -> Connectivity:
    return estimated(planted_windows)


def test_a_spike_onset_is_the_first_sample_at_the_reset():
    at_reset = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 1, 1]], dtype=torch.bool).T
    assert spike_onsets(at_reset).T.int().tolist() == [[0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 1, 0]]


def test_planted_weights_are_recovered_in_mv(connectivity, planted_weights_mv):
    # Steps that end in a spike are left out, which hides about a tenth of the excitation.
    connected = planted_weights_mv != 0
    np.testing.assert_allclose(connectivity.weights_mv.numpy()[connected], planted_weights_mv[connected], rtol=0.2)
    assert connectivity.weights_mv[~torch.from_numpy(connected)].abs().max() < 0.1


def test_every_planted_connection_is_found_and_no_other(connectivity, planted_weights_mv):
    found = connectivity_accuracy(connectivity, torch.from_numpy(planted_weights_mv))
    assert (found.auroc, found.average_precision, found.sign_accuracy, found.senders_named) == (1, 1, 1, 1)
    assert torch.equal(connectivity.probability > 0.5, torch.from_numpy(planted_weights_mv != 0))


def test_delay_profile_is_the_planted_one(connectivity):
    torch.testing.assert_close(connectivity.delay_profile, torch.tensor([1.0, 0.0, 0.0]), atol=0.05, rtol=0)


def test_measured_weights_scatter_by_their_standard_errors(connectivity, planted_weights_mv):
    apart = torch.from_numpy(planted_weights_mv == 0) & connectivity.standard_error_mv.isfinite()
    z = (connectivity.measured_mv / connectivity.standard_error_mv)[apart]
    assert 0.7 < z.std() < 1.4


def test_no_channel_drives_itself(connectivity):
    assert (connectivity.standard_error_mv.diag() == math.inf).all()
    assert not connectivity.weights_mv.diag().any()
    assert not connectivity.probability.diag().any()


def test_held_out_samples_do_not_change_the_estimate(planted_mv, write_window_set):
    def with_held_out(held_out_seed: int) -> Connectivity:
        random = np.random.default_rng(held_out_seed)
        held_out = random.normal(-60, 5, (400, planted_mv.shape[1])).astype(np.float32)
        splits = [(Split.TRAIN, planted_mv[:4000]), (Split.VALIDATION, held_out), (Split.TEST, held_out)]
        return estimated(write_window_set(splits, name=f"windows{held_out_seed}"), n_lags=2)

    one, other = with_held_out(0), with_held_out(1)
    assert torch.equal(one.weights_mv, other.weights_mv)
    assert torch.equal(one.standard_error_mv, other.standard_error_mv)


def test_without_visible_spikes_there_is_no_estimate(ar1_windows):
    assert estimate_connectivity(ar1_windows, n_lags=3) is None


def test_unconnected_channels_get_no_connections(write_window_set, simulate_planted):
    voltage_mv = simulate_planted(np.zeros((10, 10), np.float32), n_samples=20_000)
    found = estimated(write_window_set([(Split.TRAIN, voltage_mv)]))
    assert found.probability.max() < 0.5
    assert set(found.sender_types) == {SenderType.UNKNOWN}


def test_a_channel_without_spikes_gets_the_expected_weights(write_window_set, planted_mv):
    quiet_mv = planted_mv.copy()
    quiet_mv[:, 0] = np.random.default_rng(0).normal(-60, 3, len(quiet_mv))
    found = estimated(write_window_set([(Split.TRAIN, quiet_mv)]))
    assert (found.standard_error_mv[0] == math.inf).all()
    torch.testing.assert_close(found.weights_mv[0, 1:], found.weights_mv[0, 1].expand(11))
    assert found.probability[0].max() < 0.5
    assert found.sender_types[0] is SenderType.UNKNOWN


def posterior(measured_mv: torch.Tensor, standard_error_mv: torch.Tensor) -> Posterior:
    return CouplingPrior.fit(measured_mv[None], standard_error_mv[None]).posterior(measured_mv, standard_error_mv)


def test_a_faint_effect_is_judged_by_the_type_of_its_sender():
    """An effect of 1.2 +- 0.4 mV may be a connection of an excitatory sender; of an inhibitory one it is noise."""
    measured_mv = torch.randn(20, 20, generator=torch.Generator().manual_seed(0)) * 0.4
    measured_mv[:12, 12:16] += 2.0
    measured_mv[12:, :4] -= 3.0
    measured_mv[0, 10] = measured_mv[19, 10] = 1.2
    found = posterior(measured_mv, torch.full((20, 20), 0.4))
    assert (found.excitatory[:12] > 0.99).all()
    assert (found.excitatory[12:] < 0.01).all()
    assert found.probability[0, 10] > 0.1
    assert found.probability[19, 10] < 1e-3


def test_weights_shrink_toward_the_mean_of_the_type():
    measured_mv = torch.zeros(10, 10)
    measured_mv[:5, 5:9] = torch.tensor([1.8, 1.9, 2.1, 2.2])  # spread by their standard errors
    weights_mv = posterior(measured_mv, torch.full((10, 10), 0.3)).by_type_mv.sum(0)
    torch.testing.assert_close(weights_mv[:5, 5:9], torch.full((5, 4), 2.0), atol=0.02, rtol=0)


def test_an_unknown_organoid_gets_the_mean_connection():
    """Two thirds of senders excite a third of the channels by 3 mV; the others inhibit a third by 6 mV."""
    random = torch.Generator().manual_seed(0)
    is_connected = torch.rand(60, 60, generator=random) < 1 / 3
    truth_mv = torch.where(torch.arange(60) < 40, 3.0, -6.0)[:, None] * is_connected
    measured_mv = truth_mv + 0.1 * torch.randn(60, 60, generator=random)
    prior = CouplingPrior.fit(measured_mv[None], torch.full((1, 60, 60), 0.1))
    zeros = torch.zeros(4, 4)
    unknown = prior.posterior(zeros, zeros + math.inf)
    apart = ~torch.eye(4, dtype=torch.bool)
    excitation_mv, inhibition_mv = unknown.by_type_mv[:, apart].mean(1)
    assert float(excitation_mv) == pytest.approx(2 / 3 * 1 / 3 * 3, rel=0.1)
    assert float(inhibition_mv) == pytest.approx(-1 / 3 * 1 / 3 * 6, rel=0.1)
    assert not unknown.by_type_mv[:, ~apart].any()


def test_sums_of_two_segments_add_up(planted_windows, planted_mv):
    """The second segment begins one row before its first spikes; the first ends with the lags after its last ones."""
    training = estimate_connectivity(planted_windows, n_lags=3)
    assert training
    voltage_mv = torch.from_numpy(planted_mv[:2000])
    whole = training.estimator.spike_triggered_sums(voltage_mv)
    parts = training.estimator.spike_triggered_sums(voltage_mv[:1004]) + training.estimator.spike_triggered_sums(
        voltage_mv[1000:]
    )
    assert torch.equal(parts.counts, whole.counts)
    torch.testing.assert_close(parts.sums_mv, whole.sums_mv, rtol=1e-4, atol=1e-2)
    assert (whole - whole).counts.abs().sum() == 0


def test_spike_probabilities_depend_on_the_voltage(write_window_set):
    """Half of the samples at -51 mV precede a spike by one sample, half of those at -60 mV by two samples."""
    cycle_mv = np.array([-60, -51, -70, -70, -60, -51, -55], np.float32)
    windows = write_window_set([(Split.TRAIN, np.tile(cycle_mv, 60)[:, None] + np.zeros((1, 2), np.float32))])
    edges_mv = torch.tensor([-65.0, -58.0, -53.0])
    probabilities = spike_probabilities(
        windows, ResetVoltage(-70.0, 0.01), lambda mv: torch.bucketize(mv, edges_mv), 4, 2
    )
    expected = torch.tensor([[0.0, 0.0, 0.0, 0.5], [0.0, 0.5, 0.0, 0.0]])
    torch.testing.assert_close(probabilities, expected, atol=0.01, rtol=0)


def test_accuracy_of_a_hand_made_matrix():
    """Ranked by probability, the six pairs are connected, not, connected, not, not, not."""
    probability = torch.tensor([[0.0, 0.9, 0.8], [0.7, 0.0, 0.2], [0.1, 0.0, 0.0]])
    error = torch.eye(3).masked_fill(torch.eye(3, dtype=torch.bool), math.inf).clamp(min=0.1)
    types = (SenderType.EXCITATORY, SenderType.UNKNOWN, SenderType.INHIBITORY)
    weights = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    truth = torch.tensor([[0.0, 2.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    reset = ResetVoltage(-70.0, 0.01)
    found = connectivity_accuracy(
        Connectivity(weights, weights, error, probability, types, reset, torch.ones(1)), truth
    )
    assert found.auroc == pytest.approx(7 / 8)  # one of 2 x 4 comparisons is wrong
    assert found.average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert found.sign_accuracy == 0.5
