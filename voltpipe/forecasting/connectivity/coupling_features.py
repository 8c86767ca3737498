"""Coupling features: the input that each channel receives from the spikes of the others."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from voltpipe.signals.spike_detection import ResetVoltage, is_at_reset, spike_onsets
from voltpipe.windows.split_segments import training_segments
from voltpipe.windows.window_set import WindowSet


class CouplingFeatures(nn.Module):
    """Weighted sums over the senders of each channel, separately for excitation and inhibition.

    A sender contributes at its spike onset, one sample later in proportion to the effect that is still to come, and
    before the spike in proportion to its probability of a spike 1, 2, ... samples ahead. If no spikes can be detected,
    all features are zero.

    Args:
        n_bins: number of voltage bins of the spike probabilities.
        n_ahead: number of samples ahead for which spikes are expected.
    """

    chances: Tensor
    scale: Tensor

    def __init__(self, n_bins: int, n_ahead: int) -> None:
        super().__init__()
        self.n_features = 2 * (2 + n_ahead)
        self.register_buffer("chances", torch.zeros(n_ahead, n_bins))
        self.register_buffer("scale", torch.ones(self.n_features))

    def fit(self, reset: ResetVoltage, window_set: WindowSet, bins: Callable[[Tensor], Tensor]) -> None:
        """Fit the spike probabilities on the training rows.

        Args:
            reset: voltage after a spike.
            window_set: source of the training rows; no other rows are read.
            bins: returns the bin of each voltage in mV.
        """
        n_ahead, n_bins = self.chances.shape
        self.chances.copy_(spike_probabilities(window_set, reset, bins, n_bins, n_ahead))

    def set_scale(self, features: Float[Tensor, "batch feature time channel"]) -> None:
        """Scale each feature to unit standard deviation over these, still unscaled, values."""
        spread = features.std(dim=(0, 2, 3))
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(
        self,
        spikes: Bool[Tensor, "batch time channel"],
        share_to_come: Float[Tensor, "batch time channel"],
        bins: Int64[Tensor, "batch time channel"],
        coupling_mv: Float[Tensor, "organoid 2 channel channel"],
    ) -> Float[Tensor, "batch feature time channel"]:
        """Compute the features at each sample, from this sample and earlier ones.

        Args:
            spikes: spike onsets.
            share_to_come: expected share of a spike's effect that is still to come, one sample after its onset (see
                `arrival_posterior`).
            bins: voltage bin of each sample.
            coupling_mv: effect of a spike of each sender (row) on each receiver (column), as an excitatory and as an
                inhibitory sender; one matrix pair for each window, or a single one for all.
        """
        sent = torch.stack(
            [spikes.to(coupling_mv.dtype), share_to_come, *(chance[bins] for chance in self.chances)], dim=1
        )
        n_windows, n_sent, n_samples, n_channels = sent.shape
        received = sent.flatten(1, 2) @ coupling_mv.transpose(1, 2).flatten(2)
        by_type = received.reshape(n_windows, n_sent, n_samples, 2, n_channels).permute(0, 3, 1, 2, 4)
        return by_type.flatten(1, 2) / self.scale[:, None, None]


def spike_probabilities(
    window_set: WindowSet, reset: ResetVoltage, bins: Callable[[Tensor], Tensor], n_bins: int, n_ahead: int
) -> Float[Tensor, "ahead bin"]:
    """Return the share of training samples in each voltage bin that a spike onset follows 1, 2, ... samples later.

    Args:
        window_set: source of the training rows; no other rows are read.
        reset: voltage after a spike.
        bins: returns the bin of each voltage in mV.
        n_bins: number of bins.
        n_ahead: number of samples ahead.
    """
    spikes = torch.zeros(n_ahead, n_bins, dtype=torch.float64)
    counts = torch.zeros(n_bins, dtype=torch.float64)
    for segment in training_segments(window_set, n_before=0, n_after=n_ahead):
        voltage_mv = segment.samples_mv()
        onsets = spike_onsets(is_at_reset(voltage_mv, reset.voltage_mv, reset.tolerance_mv))
        n_rows = len(voltage_mv) - n_ahead
        bin_of = bins(voltage_mv[:n_rows]).flatten()
        counts += torch.bincount(bin_of, minlength=n_bins)
        for ahead in range(n_ahead):
            later = onsets[ahead + 1 :][:n_rows].flatten().double()
            spikes[ahead] += torch.bincount(bin_of, weights=later, minlength=n_bins)
    return (spikes / counts.clamp(min=1)).float()
