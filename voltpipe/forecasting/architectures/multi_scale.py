"""Multi-scale temporal model: dilated causal convolutions over each channel's past."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

from voltpipe.forecasting.architectures.causal_base import CausalModule, CausalSettings, CouplingMv, causal_history
from voltpipe.forecasting.forecast_module import Dimensions
from voltpipe.schema import Settings


class MultiScaleSettings(CausalSettings):
    """Settings of the multi-scale model. Its receptive field is the last 2 ** scales samples."""

    scales: int = Field(
        5, ge=1, le=12, description="Number of convolutions, each with twice the dilation of the one before."
    )
    filters: int = Field(32, ge=1, le=1024, description="Number of filters of each convolution.")


class MultiScale(CausalModule):
    """Dilated causal convolutions with residual connections. The read-out sees the outputs of all scales.

    Based on van den Oord et al. (2016), WaveNet, https://arxiv.org/abs/1609.03499, without its gates, and for sequence
    modeling on Bai et al. (2018), https://arxiv.org/abs/1803.01271.
    """

    settings_type: ClassVar[type[Settings]] = MultiScaleSettings

    def __init__(self, settings: MultiScaleSettings, dimensions: Dimensions) -> None:
        filters, scales = settings.filters, settings.scales
        super().__init__(settings, dimensions, n_states=filters * (scales + 1))
        self.first = nn.Linear(2, filters)
        self.convolutions = nn.ModuleList([nn.Linear(2 * filters, filters) for _ in range(scales)])

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Return the filters of the finest scale (valid while its ReLUs are active)."""
        weight = self.convolutions[0].get_parameter("weight")
        return torch.matmul(weight.reshape(len(weight), 2, -1), self.first.weight[:, 0]).flip(1)

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Concatenate the outputs of all scales, the finest first."""
        features = [relu(self.first(self.own_features(voltage_mv)))]
        for scale, convolution in enumerate(self.convolutions):
            history = causal_history(features[-1], 2, dilation=2**scale)
            features.append(features[-1] + relu(convolution(history)))
        return torch.cat(features, dim=-1)[:, :, first_sample:]
