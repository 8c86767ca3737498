"""Attention over channels: at each sample every channel asks all others for their last samples."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu, softmax

from voltpipe.forecasting.architectures.causal_base import CausalModule, CausalSettings, CouplingMv, causal_history
from voltpipe.forecasting.forecast_module import Dimensions
from voltpipe.schema import Settings


class AttentionSettings(CausalSettings):
    """Its sizes."""

    kernel_samples: int = Field(4, ge=1, le=101, description="last samples that a token is made of")
    heads: int = Field(2, ge=1, le=64, description="ways of attending side by side")
    head_units: int = Field(16, ge=1, le=256, description="units of each")


class Attention(CausalModule):
    """Tokens are channels, of which each has an embedding of its own, so that it can be learned who drives whom.

    Vaswani et al. (2017), https://arxiv.org/abs/1706.03762; over channels as by Liu et al. (2024), iTransformer,
    https://arxiv.org/abs/2310.06625, but with a token for each sample, hence causal.
    """

    settings_type: ClassVar[type[Settings]] = AttentionSettings
    bound_to_channels = True

    def __init__(self, settings: AttentionSettings, dimensions: Dimensions) -> None:
        width = settings.heads * settings.head_units
        super().__init__(settings, dimensions, n_states=2 * width)
        self.heads = settings.heads
        self.kernel_samples = settings.kernel_samples
        self.token = nn.Linear(2 * settings.kernel_samples, width)
        self.embedding = nn.Parameter(torch.randn(dimensions.n_channels, width))
        self.exchange = nn.Linear(width, 3 * width)

    def _by_head(self, values: Float[Tensor, "moment channel width"]) -> Float[Tensor, "moment head channel unit"]:
        return values.reshape(*values.shape[:2], self.heads, -1).transpose(1, 2)

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Read the filters out of the token layer, which weighs the last samples."""
        by_sample = self.token.weight.reshape(len(self.token.weight), self.kernel_samples, -1)
        return by_sample[..., 0].flip(1)

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Concatenate each channel's own token and what it attends to."""
        own = self.own_features(voltage_mv)
        seen = causal_history(own, self.kernel_samples)[:, :, first_sample:].transpose(1, 2)
        known = relu(self.token(seen)).flatten(0, 1)  # (moment, channel, width)
        asked, answered, told = (self._by_head(part) for part in self.exchange(known + self.embedding).chunk(3, dim=-1))
        # Written out: torch's own is several times slower on a CPU for so many small matrices.
        weights = softmax(asked / math.sqrt(asked.shape[-1]) @ answered.mT, dim=-1)
        heard = (weights @ told).transpose(1, 2).flatten(2)
        states = torch.cat([known, heard], dim=-1)
        return states.reshape(len(own), -1, *states.shape[1:]).transpose(1, 2)
