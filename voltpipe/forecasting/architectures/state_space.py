"""State-space model: linear recurrences over each channel's past, computed as causal convolutions."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gelu

from voltpipe.forecasting.architectures.causal_base import CausalModule, CausalSettings, CouplingMv
from voltpipe.forecasting.forecast_module import Dimensions
from voltpipe.schema import Settings


class StateSpaceSettings(CausalSettings):
    """Settings of the state-space model."""

    layers: int = Field(2, ge=1, le=16, description="Number of layers, each with recurrences and a mixing layer.")
    width: int = Field(24, ge=1, le=1024, description="Number of parallel recurrences in each layer.")
    modes: int = Field(4, ge=1, le=256, description="Number of complex exponential modes of each recurrence.")
    fastest_samples: float = Field(1.0, gt=0, le=100, description="Shortest initial time constant, in samples.")
    slowest_samples: float = Field(20.0, gt=0, le=10_000, description="Longest initial time constant, in samples.")


class Recurrence(nn.Module):
    """Linear recurrence x(t) = a x(t - 1) + u(t), y(t) = Re(c x(t)) + d u(t), with complex diagonal a.

    Each of the `width` inputs has its own a, c and d. The recurrence is linear, so y is the convolution of u with
    Re(c a^k), plus d u. It is computed as one matrix product over the whole sequence, not step by step.
    """

    def __init__(self, settings: StateSpaceSettings) -> None:
        super().__init__()
        shape = settings.width, settings.modes
        fastest, slowest = math.log(settings.fastest_samples), math.log(settings.slowest_samples)
        self.log_samples = nn.Parameter(torch.empty(shape).uniform_(fastest, slowest))
        # Evenly spaced angular frequencies, starting at 0, as in S4D-Lin.
        self.turn = nn.Parameter(math.pi * torch.arange(settings.modes).expand(shape) / settings.modes)
        self.read = nn.Parameter(torch.randn(2, *shape) / math.sqrt(settings.modes))
        self.passed_on = nn.Parameter(torch.ones(settings.width))

    def kernel(self, n_samples: int) -> Float[Tensor, "width time"]:
        """Return the impulse response over `n_samples` samples."""
        rate = torch.complex(-torch.exp(-self.log_samples), self.turn)
        powers = torch.exp(rate[..., None] * torch.arange(n_samples, device=rate.device))
        # Scaled so that slow modes do not dominate fast ones.
        read = torch.complex(*self.read) * torch.exp(-0.5 * self.log_samples)
        response = torch.einsum("wm,wmt->wt", read, powers).real
        return torch.cat([response[:, :1] + self.passed_on[:, None], response[:, 1:]], dim=1)

    def forward(self, inputs: Float[Tensor, "sequence time width"]) -> Float[Tensor, "sequence time width"]:
        """Compute the outputs, each from its input and earlier ones."""
        n_samples = inputs.shape[1]
        kernel = self.kernel(n_samples)
        lag = torch.arange(n_samples, device=kernel.device) - torch.arange(n_samples, device=kernel.device)[:, None]
        response = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], 0)  # (width, input time, output time)
        return torch.einsum("scw,wct->stw", inputs, response)


class StateSpace(CausalModule):
    """Layers of diagonal linear recurrences, each with a nonlinearity, a mixing layer and a residual connection.

    Based on Gu et al. (2022), S4D, https://arxiv.org/abs/2206.11893, in discrete time as in Orvieto et al. (2023),
    LRU, https://arxiv.org/abs/2303.06349.
    """

    settings_type: ClassVar[type[Settings]] = StateSpaceSettings

    def __init__(self, settings: StateSpaceSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions, n_states=settings.width)
        self.first = nn.Linear(2, settings.width)
        self.recurrences = nn.ModuleList([Recurrence(settings) for _ in range(settings.layers)])
        self.mixes = nn.ModuleList([nn.Linear(settings.width, settings.width) for _ in range(settings.layers)])

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Return the impulse responses of the first layer over `memory_samples`, most recent sample first."""
        first = self.recurrences[0]
        assert isinstance(first, Recurrence)
        return first.kernel(self.memory_samples) * self.first.weight[:, :1]

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Return the outputs of the last layer."""
        own = self.own_features(voltage_mv)
        features = gelu(self.first(own)).flatten(0, 1)
        for recurrence, mix in zip(self.recurrences, self.mixes, strict=True):
            features = features + mix(gelu(recurrence(features)))
        states = features[:, first_sample:]
        return states.reshape(*own.shape[:2], *states.shape[1:])
