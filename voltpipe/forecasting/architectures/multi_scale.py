"""Multi-scale temporal: causal convolutions over each channel's past at ever wider spacing."""

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
    """Its sizes. It sees the last 2 ^ scales samples."""

    scales: int = Field(5, ge=1, le=12, description="convolutions, each over samples twice as far apart as the last")
    filters: int = Field(32, ge=1, le=1024, description="filters of each convolution")


class MultiScale(CausalModule):
    """Dilated causal convolutions with residuals, all of whose outputs are read out.

    Van den Oord et al. (2016), WaveNet, https://arxiv.org/abs/1609.03499, without its gates; for sequences of
    measurements Bai et al. (2018), https://arxiv.org/abs/1803.01271.
    """

    settings_type: ClassVar[type[Settings]] = MultiScaleSettings

    def __init__(self, settings: MultiScaleSettings, dimensions: Dimensions) -> None:
        filters, scales = settings.filters, settings.scales
        super().__init__(settings, dimensions, n_states=filters * (scales + 1))
        self.first = nn.Linear(2, filters)
        self.convolutions = nn.ModuleList([nn.Linear(2 * filters, filters) for _ in range(scales)])

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Filters of the finest scale (valid while its rectifiers are active)."""
        weight = self.convolutions[0].get_parameter("weight")
        return torch.matmul(weight.reshape(len(weight), 2, -1), self.first.weight[:, 0]).flip(1)

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Concatenate the outputs of all scales, the finest first."""
        features = [relu(self.first(self.own_features(voltage_mv)))]
        for scale, convolution in enumerate(self.convolutions):
            seen = causal_history(features[-1], 2, apart=2**scale)
            features.append(features[-1] + relu(convolution(seen)))
        return torch.cat(features, dim=-1)[:, :, first_sample:]
