"""What spike trains alone say of pairs, against values worked out by hand."""

import pytest
import torch

from voltpipe.signals.spike_detection import find_reset_voltage
from voltpipe.signals.spike_trains import pairwise_onset_statistics, pairwise_spike_statistics
from voltpipe.windows.split_segments import training_samples_mv, training_segments


def train(n_rows: int, *spike_rows: list[int]) -> torch.Tensor:
    spikes = torch.zeros(n_rows, len(spike_rows), dtype=torch.bool)
    for channel, rows in enumerate(spike_rows):
        spikes[rows, channel] = True
    return spikes


def test_measures_of_two_trains_as_worked_out_by_hand():
    # 10 rows within margins of one. The receiver follows one of two spikes of the sender.
    measures = pairwise_onset_statistics([train(12, [2, 6], [3, 9])], n_lags=1)
    # Expected at a lag: 2 * 2 / 10 = 0.4; found forth 1, back 0.
    assert measures.correlogram_z[0, 1].item() == pytest.approx(0.6 / 0.4**0.5)
    assert measures.correlogram_z[1, 0].item() == pytest.approx(0.4**0.5)
    # P = 1/2 and T = 2/10 both ways forth, P = 0 back.
    assert measures.tiling[0, 1].item() == pytest.approx((0.5 - 0.2) / (1 - 0.1))
    assert measures.tiling[1, 0].item() == pytest.approx(-0.2)


def test_a_sender_that_is_always_followed_has_a_tiling_of_one():
    assert pairwise_onset_statistics([train(20, [3, 8, 14], [4, 9, 15])], n_lags=1).tiling[
        0, 1
    ].item() == pytest.approx(1)


def test_a_channel_that_never_spikes_and_a_channel_with_itself_count_nothing():
    measures = pairwise_onset_statistics([train(20, [3, 4, 8], [])], n_lags=2)
    assert measures.correlogram_z.count_nonzero() == measures.tiling.count_nonzero() == 0


def test_stretches_add_up():
    one = train(12, [2, 6], [3, 9])
    measures = pairwise_onset_statistics([one, one], n_lags=1)
    assert measures.correlogram_z[0, 1].item() == pytest.approx(1.2 / 0.8**0.5)
    assert measures.tiling[0, 1].item() == pytest.approx(1 / 3)


def test_planted_senders_stand_out_in_the_spike_trains(planted_windows, planted_weights_mv):
    reset = find_reset_voltage(training_samples_mv(planted_windows, 100_000))
    assert reset
    pieces = training_segments(planted_windows, n_before=4, n_after=3)
    measures = pairwise_spike_statistics((piece.samples_mv() for piece in pieces), reset, n_lags=3)
    excited = torch.from_numpy(planted_weights_mv > 0)
    apart = torch.from_numpy(planted_weights_mv == 0) & ~torch.eye(len(excited), dtype=torch.bool)
    assert measures.tiling[excited].mean() > measures.tiling[apart].mean()
    assert measures.correlogram_z[excited].mean() > measures.correlogram_z[apart].mean()
