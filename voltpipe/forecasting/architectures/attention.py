"""Attention over channels: at each sample, every channel attends to the last samples of all channels."""

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
    """Settings of the attention model."""

    kernel_samples: int = Field(4, ge=1, le=101, description="Number of last samples in each token.")
    heads: int = Field(2, ge=1, le=64, description="Number of attention heads.")
    head_units: int = Field(16, ge=1, le=256, description="Number of units of each attention head.")


class Attention(CausalModule):
    """Attention with channels as tokens. Each channel has its own embedding, so that connectivity can be learned.

    Attention as in Vaswani et al. (2017), https://arxiv.org/abs/1706.03762, over channels as in Liu et al. (2024),
    iTransformer, https://arxiv.org/abs/2310.06625. Unlike there, each sample has its own token, so the model is causal.
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

    def _by_head(self, values: Float[Tensor, "step channel width"]) -> Float[Tensor, "step head channel unit"]:
        return values.reshape(*values.shape[:2], self.heads, -1).transpose(1, 2)

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Return the token layer's weights of the last samples as filters, most recent sample first."""
        by_sample = self.token.weight.reshape(len(self.token.weight), self.kernel_samples, -1)
        return by_sample[..., 0].flip(1)

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Concatenate each channel's token and the output of its attention."""
        own = self.own_features(voltage_mv)
        history = causal_history(own, self.kernel_samples)[:, :, first_sample:].transpose(1, 2)
        tokens = relu(self.token(history)).flatten(0, 1)  # (step, channel, width)
        queries, keys, values = (
            self._by_head(part) for part in self.exchange(tokens + self.embedding).chunk(3, dim=-1)
        )
        # Torch's scaled_dot_product_attention is several times slower on a CPU for this many small matrices.
        weights = softmax(queries / math.sqrt(queries.shape[-1]) @ keys.mT, dim=-1)
        attended = (weights @ values).transpose(1, 2).flatten(2)
        states = torch.cat([tokens, attended], dim=-1)
        return states.reshape(len(own), -1, *states.shape[1:]).transpose(1, 2)
