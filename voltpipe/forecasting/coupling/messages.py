"""What reaches each channel from the others, through the coupling."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from voltpipe.forecasting.coupling.coupling import Coupling
from voltpipe.forecasting.coupling.spike_chance import spike_chances
from voltpipe.forecasting.coupling.spikes import onsets, standing_at
from voltpipe.forecasting.training_rows import training_stretches
from voltpipe.windows.window_set import WindowSet


class Messages(nn.Module):
    """Sums up what the senders of each channel do, excitation and inhibition apart.

    A sender is heard when its spike is first seen, and before that in proportion to its chance to spike 1, 2, ...
    samples ahead. Without a coupling there is silence: all messages are zero.

    Args:
        n_channels: senders and receivers.
        n_bins: bins of voltage that a chance to spike is known for.
        n_ahead: how many samples ahead spikes are expected.
    """

    weights_mv: Tensor
    probability: Tensor
    reset_mv: Tensor
    reset_tolerance_mv: Tensor
    chances: Tensor
    scale: Tensor

    def __init__(self, n_channels: int, n_bins: int, n_ahead: int) -> None:
        super().__init__()
        self.n_messages = 2 * (1 + n_ahead)
        self.register_buffer("weights_mv", torch.zeros(n_channels, n_channels))
        self.register_buffer("probability", torch.zeros(n_channels, n_channels))
        self.register_buffer("reset_mv", torch.zeros(()))
        self.register_buffer("reset_tolerance_mv", torch.zeros(()))
        self.register_buffer("chances", torch.zeros(n_ahead, n_bins))
        self.register_buffer("scale", torch.ones(self.n_messages, 1, 1, 1))

    def fit(self, coupling: Coupling, window_set: WindowSet, bins: Callable[[Tensor], Tensor]) -> None:
        """Take the coupling over, and learn from the training rows how likely spikes are and how messages scatter."""
        self.weights_mv.copy_(coupling.weights_mv)
        self.probability.copy_(coupling.probability)
        self.reset_mv.fill_(coupling.reset.voltage_mv)
        self.reset_tolerance_mv.fill_(coupling.reset.tolerance_mv)
        n_ahead, n_bins = self.chances.shape
        self.chances.copy_(spike_chances(window_set, coupling.reset, bins, n_bins, n_ahead))
        voltage_mv = next(training_stretches(window_set, n_before=0, n_after=0)).samples_mv()[None]
        spread = self(voltage_mv, bins(voltage_mv)).std(dim=(1, 2, 3), keepdim=True)
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))

    def at_reset(self, voltage_mv: Float[Tensor, "batch time channel"]) -> Bool[Tensor, "batch time channel"]:
        """Whether each channel stands at the reset."""
        return standing_at(voltage_mv, self.reset_mv, self.reset_tolerance_mv)

    def forward(
        self, voltage_mv: Float[Tensor, "batch time channel"], bins: Int64[Tensor, "batch time channel"]
    ) -> Float[Tensor, "message batch time channel"]:
        """The messages at each sample, none of which knows a later one.

        Args:
            voltage_mv: of all channels.
            bins: which bin of voltage each stands in.
        """
        spikes = onsets(self.at_reset(voltage_mv)).to(voltage_mv.dtype)
        sent = torch.stack([spikes, *(chance[bins] for chance in self.chances)])
        by_sign = torch.cat([self.weights_mv.clamp(min=0), self.weights_mv.clamp(max=0)], dim=1)
        excitation, inhibition = (sent @ by_sign).chunk(2, dim=-1)
        return torch.cat([excitation, inhibition]) / self.scale
