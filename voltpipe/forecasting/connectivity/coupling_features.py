"""What reaches each channel from the others, through the coupling."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from voltpipe.signals.spike_detection import ResetVoltage, is_at_reset, spike_onsets
from voltpipe.windows.split_segments import training_segments
from voltpipe.windows.window_set import WindowSet


class CouplingFeatures(nn.Module):
    """Sums up what the senders of each channel do, excitatory and inhibitory ones apart.

    A sender is heard when its spike is first seen, one sample later in proportion to what is still under way, and
    before that in proportion to its chance to spike 1, 2, ... samples ahead. Where no spike can be seen there is
    silence: all messages are zero.

    Args:
        n_bins: bins of voltage that a chance to spike is known for.
        n_ahead: how many samples ahead spikes are expected.
    """

    chances: Tensor
    scale: Tensor

    def __init__(self, n_bins: int, n_ahead: int) -> None:
        super().__init__()
        self.n_messages = 2 * (2 + n_ahead)
        self.register_buffer("chances", torch.zeros(n_ahead, n_bins))
        self.register_buffer("scale", torch.ones(self.n_messages))

    def fit(self, reset: ResetVoltage, window_set: WindowSet, bins: Callable[[Tensor], Tensor]) -> None:
        """Learn from the training rows how likely spikes are.

        Args:
            reset: where the voltage stands after a spike.
            window_set: of which only training rows are read.
            bins: gives each voltage's bin.
        """
        n_ahead, n_bins = self.chances.shape
        self.chances.copy_(spike_probabilities(window_set, reset, bins, n_bins, n_ahead))

    def scale_to(self, messages: Float[Tensor, "batch message time channel"]) -> None:
        """Give each kind of message the spread of one that these, as yet unscaled, have."""
        spread = messages.std(dim=(0, 2, 3))
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(
        self,
        spikes: Bool[Tensor, "batch time channel"],
        under_way: Float[Tensor, "batch time channel"],
        bins: Int64[Tensor, "batch time channel"],
        coupling_mv: Float[Tensor, "network 2 channel channel"],
    ) -> Float[Tensor, "batch message time channel"]:
        """The messages at each sample, none of which knows a later one.

        Args:
            spikes: the samples in which spikes are first seen.
            under_way: how much of the effect of a spike seen one sample ago is still to come (see `landing`).
            bins: which bin of voltage it stands in.
            coupling_mv: what the spikes of senders (rows) do as excitatory and as inhibitory ones; of each window's
                network, or of the one that all windows are of.
        """
        sent = torch.stack([spikes.to(coupling_mv.dtype), under_way, *(chance[bins] for chance in self.chances)], dim=1)
        n_windows, n_sent, n_samples, n_channels = sent.shape
        received = sent.flatten(1, 2) @ coupling_mv.transpose(1, 2).flatten(2)
        by_type = received.reshape(n_windows, n_sent, n_samples, 2, n_channels).permute(0, 3, 1, 2, 4)
        return by_type.flatten(1, 2) / self.scale[:, None, None]


def spike_probabilities(
    window_set: WindowSet, reset: ResetVoltage, bins: Callable[[Tensor], Tensor], n_bins: int, n_ahead: int
) -> Float[Tensor, "ahead bin"]:
    """The share of training samples in each bin of voltage after which a spike is first seen 1, 2, ... samples later.

    Args:
        window_set: of which only the training rows are read.
        reset: where the voltage stands after a spike.
        bins: gives each voltage's bin.
        n_bins: how many bins there are.
        n_ahead: how many samples ahead.
    """
    spikes = torch.zeros(n_ahead, n_bins, dtype=torch.float64)
    counts = torch.zeros(n_bins, dtype=torch.float64)
    for stretch in training_segments(window_set, n_before=0, n_after=n_ahead):
        voltage_mv = stretch.samples_mv()
        begins = spike_onsets(is_at_reset(voltage_mv, reset.voltage_mv, reset.tolerance_mv))
        n_rows = len(voltage_mv) - n_ahead
        bin_of = bins(voltage_mv[:n_rows]).flatten()
        counts += torch.bincount(bin_of, minlength=n_bins)
        for ahead in range(n_ahead):
            later = begins[ahead + 1 :][:n_rows].flatten().double()
            spikes[ahead] += torch.bincount(bin_of, weights=later, minlength=n_bins)
    return (spikes / counts.clamp(min=1)).float()
