"""State space: linear recurrences over each channel's past, computed as causal convolutions."""

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
    """Its sizes."""

    layers: int = Field(2, ge=1, le=16, description="layers, each of recurrences and what mixes them")
    width: int = Field(24, ge=1, le=1024, description="recurrences side by side in a layer")
    modes: int = Field(4, ge=1, le=256, description="complex exponentials that a recurrence remembers by")
    fastest_samples: float = Field(1.0, gt=0, le=100, description="shortest time constant at first, in samples")
    slowest_samples: float = Field(20.0, gt=0, le=10_000, description="longest time constant at first, in samples")


class Recurrence(nn.Module):
    """x(t) = a x(t - 1) + u(t), y(t) = Re(c x(t)) + d u(t) with a complex diagonal a for each of `width` inputs.

    It is linear, so y is u convolved with Re(c a^k): one matrix product a sequence length, no step by step.
    """

    def __init__(self, settings: StateSpaceSettings) -> None:
        super().__init__()
        shape = settings.width, settings.modes
        fastest, slowest = math.log(settings.fastest_samples), math.log(settings.slowest_samples)
        self.log_samples = nn.Parameter(torch.empty(shape).uniform_(fastest, slowest))
        # From no turn a sample on, as S4D-Lin spaces its modes.
        self.turn = nn.Parameter(math.pi * torch.arange(settings.modes).expand(shape) / settings.modes)
        self.read = nn.Parameter(torch.randn(2, *shape) / math.sqrt(settings.modes))
        self.passed_on = nn.Parameter(torch.ones(settings.width))

    def kernel(self, n_samples: int) -> Float[Tensor, "width time"]:
        """What an input of one does to the outputs from then on."""
        rate = torch.complex(-torch.exp(-self.log_samples), self.turn)
        powers = torch.exp(rate[..., None] * torch.arange(n_samples, device=rate.device))
        # Scaled so that slow modes do not say more than fast ones.
        read = torch.complex(*self.read) * torch.exp(-0.5 * self.log_samples)
        response = torch.einsum("wm,wmt->wt", read, powers).real
        return torch.cat([response[:, :1] + self.passed_on[:, None], response[:, 1:]], dim=1)

    def forward(self, inputs: Float[Tensor, "sequence time width"]) -> Float[Tensor, "sequence time width"]:
        """The outputs; none knows of later inputs."""
        n_samples = inputs.shape[1]
        kernel = self.kernel(n_samples)
        lag = torch.arange(n_samples, device=kernel.device) - torch.arange(n_samples, device=kernel.device)[:, None]
        effect = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], 0)  # (width, cause, time)
        return torch.einsum("scw,wct->stw", inputs, effect)


class StateSpace(CausalModule):
    """Layers of diagonal linear recurrences, mixed through a nonlinearity and added to what came in.

    Gu et al. (2022), S4D, https://arxiv.org/abs/2206.11893, in discrete time as by Orvieto et al. (2023), LRU,
    https://arxiv.org/abs/2303.06349.
    """

    settings_type: ClassVar[type[Settings]] = StateSpaceSettings

    def __init__(self, settings: StateSpaceSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions, n_states=settings.width)
        self.first = nn.Linear(2, settings.width)
        self.recurrences = nn.ModuleList([Recurrence(settings) for _ in range(settings.layers)])
        self.mixes = nn.ModuleList([nn.Linear(settings.width, settings.width) for _ in range(settings.layers)])

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Write the recurrences of the first layer out over the memory."""
        first = self.recurrences[0]
        assert isinstance(first, Recurrence)
        return first.kernel(self.memory_samples) * self.first.weight[:, :1]

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Compute the last layer's output."""
        own = self.own_features(voltage_mv)
        features = gelu(self.first(own)).flatten(0, 1)
        for recurrence, mix in zip(self.recurrences, self.mixes, strict=True):
            features = features + mix(gelu(recurrence(features)))
        states = features[:, first_sample:]
        return states.reshape(*own.shape[:2], *states.shape[1:])
