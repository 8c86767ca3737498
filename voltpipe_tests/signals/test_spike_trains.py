"""Pairwise spike statistics agree with values computed by hand."""

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


def test_statistics_of_two_trains_agree_with_values_computed_by_hand():
    # 10 rows within margins of one. The receiver follows one of two spikes of the sender.
    statistics = pairwise_onset_statistics([train(12, [2, 6], [3, 9])], n_lags=1)
    # Expected at a lag: 2 * 2 / 10 = 0.4. Found: 1 from sender to receiver, 0 in reverse.
    assert statistics.correlogram_z[0, 1].item() == pytest.approx(0.6 / 0.4**0.5)
    assert statistics.correlogram_z[1, 0].item() == pytest.approx(0.4**0.5)
    # From sender to receiver, both P are 1/2 and both T 2/10. In reverse, P = 0.
    assert statistics.tiling[0, 1].item() == pytest.approx((0.5 - 0.2) / (1 - 0.1))
    assert statistics.tiling[1, 0].item() == pytest.approx(-0.2)


def test_a_sender_whose_every_spike_is_followed_has_a_tiling_of_one():
    assert pairwise_onset_statistics([train(20, [3, 8, 14], [4, 9, 15])], n_lags=1).tiling[
        0, 1
    ].item() == pytest.approx(1)


def test_statistics_are_zero_for_a_silent_channel_and_for_a_channel_with_itself():
    statistics = pairwise_onset_statistics([train(20, [3, 4, 8], [])], n_lags=2)
    assert statistics.correlogram_z.count_nonzero() == statistics.tiling.count_nonzero() == 0


def test_segments_add_up():
    one = train(12, [2, 6], [3, 9])
    statistics = pairwise_onset_statistics([one, one], n_lags=1)
    assert statistics.correlogram_z[0, 1].item() == pytest.approx(1.2 / 0.8**0.5)
    assert statistics.tiling[0, 1].item() == pytest.approx(1 / 3)


def test_planted_connections_have_higher_statistics_than_other_pairs(planted_windows, planted_weights_mv):
    reset = find_reset_voltage(training_samples_mv(planted_windows, 100_000))
    assert reset
    segments = training_segments(planted_windows, n_before=4, n_after=3)
    statistics = pairwise_spike_statistics((segment.samples_mv() for segment in segments), reset, n_lags=3)
    excited = torch.from_numpy(planted_weights_mv > 0)
    unconnected = torch.from_numpy(planted_weights_mv == 0) & ~torch.eye(len(excited), dtype=torch.bool)
    assert statistics.tiling[excited].mean() > statistics.tiling[unconnected].mean()
    assert statistics.correlogram_z[excited].mean() > statistics.correlogram_z[unconnected].mean()
