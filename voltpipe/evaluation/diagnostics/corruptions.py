"""Corruptions of a forecaster's inputs, from mild to severe."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.windows.window_set import WindowSet


@dataclass(frozen=True)
class CorruptedInputs:
    """Histories before corruption, with the statistics and random draws that corruptions need."""

    history_mv: Float[Tensor, "window context channel"]
    mean_mv: Float[Tensor, " channel"]
    sd_mv: Float[Tensor, " channel"]
    """SD of the training samples."""
    rate_hz: float
    generator: torch.Generator = field(default_factory=torch.Generator)

    def with_seed(self, seed: int) -> "CorruptedInputs":
        """Return a copy with its own random draws."""
        return replace(self, generator=torch.Generator().manual_seed(seed))

    def rand(self, *shape: int) -> Tensor:
        """Return uniform draws from 0 to 1."""
        return torch.rand(shape, generator=self.generator)

    def random_mask(self, share: float, *shape: int) -> Tensor:
        """Return a mask that is true for a random share."""
        return self.rand(*shape) < share


@dataclass(frozen=True)
class Corruption:
    """Kind of corruption. Level 0 changes nothing."""

    name: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[CorruptedInputs, float], Float[Tensor, "window context channel"]]

    def at(self, level: float) -> Callable[[CorruptedInputs], Tensor]:
        """Return the corruption at a level, as a function of inputs."""
        return lambda inputs: self.apply(inputs, level)


def level_text(level: float, unit: str) -> str:
    """Return a level with its unit, as text."""
    return f"{level:.0%}" if unit == "share" else f"{level:g} {unit}"


def _noise(inputs: CorruptedInputs, sd_mv: float) -> Tensor:
    return inputs.history_mv + sd_mv * torch.randn(inputs.history_mv.shape, generator=inputs.generator)


def _hum(inputs: CorruptedInputs, amplitude_mv: float, mains_hz: float) -> Tensor:
    """Add the same hum to all channels, at a random phase in each window."""
    n_windows, context, _ = inputs.history_mv.shape
    time_s = torch.arange(context) / inputs.rate_hz
    phase = 2 * torch.pi * (mains_hz * time_s + inputs.rand(n_windows, 1))
    return inputs.history_mv + amplitude_mv * torch.sin(phase)[..., None]


def _offset(inputs: CorruptedInputs, offset_mv: float) -> Tensor:
    """Shift one half of the channels up and the other half down."""
    sign = 1.0 - 2.0 * (torch.arange(inputs.history_mv.shape[2]) % 2)
    return inputs.history_mv + offset_mv * sign


def _dropped(inputs: CorruptedInputs, share: float) -> Tensor:
    """Repeat the previous sample in all channels where a sample is lost."""
    n_windows, context, _ = inputs.history_mv.shape
    lost = inputs.random_mask(share, n_windows, context)
    lost[:, 0] = False
    last_seen = torch.where(lost, 0, torch.arange(context)).cummax(dim=1).values
    return inputs.history_mv.gather(1, last_seen[..., None].expand_as(inputs.history_mv))


def _dead(inputs: CorruptedInputs, share: float) -> Tensor:
    """Set a random share of channels to their training mean."""
    dead = inputs.random_mask(share, inputs.history_mv.shape[2])
    return torch.where(dead, inputs.mean_mv, inputs.history_mv)


def _swapped(inputs: CorruptedInputs, share: float) -> Tensor:
    """Permute a random share of channels."""
    n_channels = inputs.history_mv.shape[2]
    chosen = torch.nonzero(inputs.random_mask(share, n_channels))[:, 0]
    order = torch.arange(n_channels)
    order[chosen] = chosen.roll(1)
    return inputs.history_mv[..., order]


def _clipped(inputs: CorruptedInputs, share: float) -> Tensor:
    """Clip the lowest and highest voltages of each channel."""
    reach_mv = inputs.sd_mv * float(torch.special.ndtri(torch.tensor(1 - share / 2))) if share else torch.inf
    return inputs.history_mv.clamp(inputs.mean_mv - reach_mv, inputs.mean_mv + reach_mv)


def _late(inputs: CorruptedInputs, most_samples: float) -> Tensor:
    """Delay each channel by its own number of samples. The mirrored beginning fills the gap."""
    _, context, n_channels = inputs.history_mv.shape
    lag = (inputs.rand(n_channels) * (most_samples + 1)).long()
    rows = (torch.arange(context)[:, None] - lag).abs()
    return inputs.history_mv.gather(1, rows.expand(len(inputs.history_mv), -1, -1))


def _gain(inputs: CorruptedInputs, error_percent: float) -> Tensor:
    """Scale the deviation from the training mean."""
    return inputs.mean_mv + (1 + error_percent / 100) * (inputs.history_mv - inputs.mean_mv)


def corruptions(typical_sd_mv: float) -> tuple[Corruption, ...]:
    """Return all corruptions.

    Levels of added voltage depend on the SD of the signal: from about 1/50 of it to twice it.

    Args:
        typical_sd_mv: SD of a typical channel, in mV.
    """
    step_mv = _round_number(typical_sd_mv / 5)
    added_mv = tuple(float(f"{times * step_mv:.3g}") for times in (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
    shares = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
    return (
        Corruption("noise", "mV (SD)", added_mv, _noise),
        Corruption("50 Hz hum", "mV", added_mv, partial(_hum, mains_hz=50.0)),
        Corruption("60 Hz hum", "mV", added_mv, partial(_hum, mains_hz=60.0)),
        Corruption("drift", "mV", added_mv, _offset),
        Corruption("dropped samples", "share", (0.0, 0.01, *shares[1:]), _dropped),
        Corruption("dead channels", "share", shares, _dead),
        Corruption("swapped channels", "share", shares, _swapped),
        Corruption("saturation", "share", (0.0, 0.01, *shares[2:]), _clipped),
        Corruption("channels late", "samples at most", (0.0, 1.0, 2.0, 5.0), _late),
        Corruption("gain error", "%", (0.0, 1.0, 2.0, 5.0, 10.0, 20.0), _gain),
    )


def corruptions_of(window_set: WindowSet) -> tuple[Corruption, ...]:
    """Return all corruptions, with levels for the median channel of a window set."""
    _, sd_mv = window_set.calibration_mv(np.arange(len(window_set.recordings)))
    return corruptions(float(sd_mv.median()))


def _round_number(value: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that does not exceed a value."""
    decade = 10.0 ** math.floor(math.log10(value))
    return decade * max(digit for digit in (1, 2, 5) if digit * decade <= value)
