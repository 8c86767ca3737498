"""What reaches each channel from the others, through the coupling."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from voltpipe.forecasting.coupling.spike_chance import spike_chances
from voltpipe.forecasting.point_mass import PointMass
from voltpipe.windows.window_set import WindowSet


class Messages(nn.Module):
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

    def fit(self, reset: PointMass, window_set: WindowSet, bins: Callable[[Tensor], Tensor]) -> None:
        """Learn from the training rows how likely spikes are.

        Args:
            reset: where the voltage stands after a spike.
            window_set: of which only training rows are read.
            bins: gives each voltage's bin.
        """
        n_ahead, n_bins = self.chances.shape
        self.chances.copy_(spike_chances(window_set, reset, bins, n_bins, n_ahead))

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
