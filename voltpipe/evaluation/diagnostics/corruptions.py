"""Corruptions of inputs, graded from clean to severe."""

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
    """Clean histories, and what corrupting them needs."""

    history_mv: Float[Tensor, "window context channel"]
    mean_mv: Float[Tensor, " channel"]
    sd_mv: Float[Tensor, " channel"]
    """Standard deviation of each channel over the training samples, in mV."""
    rate_hz: float
    generator: torch.Generator = field(default_factory=torch.Generator)

    def drawn(self, seed: int) -> "CorruptedInputs":
        """Return a copy with its own random draws."""
        return replace(self, generator=torch.Generator().manual_seed(seed))

    def rand(self, *shape: int) -> Tensor:
        """Draw uniform numbers from 0 to 1."""
        return torch.rand(shape, generator=self.generator)

    def some(self, share: float, *shape: int) -> Tensor:
        """Draw a random mask with this fraction of True."""
        return self.rand(*shape) < share


@dataclass(frozen=True)
class Corruption:
    """Kind of corruption. Level 0 is clean."""

    name: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[CorruptedInputs, float], Float[Tensor, "window context channel"]]

    def at(self, level: float) -> Callable[[CorruptedInputs], Tensor]:
        """Return the corruption at a level."""
        return lambda shown: self.apply(shown, level)


def level_text(level: float, unit: str) -> str:
    """Format a level with its unit."""
    return f"{level:.0%}" if unit == "share" else f"{level:g} {unit}"


def _noise(shown: CorruptedInputs, sd_mv: float) -> Tensor:
    return shown.history_mv + sd_mv * torch.randn(shown.history_mv.shape, generator=shown.generator)


def _hum(shown: CorruptedInputs, amplitude_mv: float, mains_hz: float) -> Tensor:
    """Add hum, equal in all channels, with a random phase per window."""
    n_windows, context, _ = shown.history_mv.shape
    time_s = torch.arange(context) / shown.rate_hz
    phase = 2 * torch.pi * (mains_hz * time_s + shown.rand(n_windows, 1))
    return shown.history_mv + amplitude_mv * torch.sin(phase)[..., None]


def _offset(shown: CorruptedInputs, offset_mv: float) -> Tensor:
    """Shift one half of the channels up, the other down."""
    sign = 1.0 - 2.0 * (torch.arange(shown.history_mv.shape[2]) % 2)
    return shown.history_mv + offset_mv * sign


def _dropped(shown: CorruptedInputs, share: float) -> Tensor:
    """Repeat the previous sample in all channels."""
    n_windows, context, _ = shown.history_mv.shape
    lost = shown.some(share, n_windows, context)
    lost[:, 0] = False
    last_seen = torch.where(lost, 0, torch.arange(context)).cummax(dim=1).values
    return shown.history_mv.gather(1, last_seen[..., None].expand_as(shown.history_mv))


def _dead(shown: CorruptedInputs, share: float) -> Tensor:
    """Replace dead channels by their training mean."""
    dead = shown.some(share, shown.history_mv.shape[2])
    return torch.where(dead, shown.mean_mv, shown.history_mv)


def _swapped(shown: CorruptedInputs, share: float) -> Tensor:
    """Swap channels."""
    n_channels = shown.history_mv.shape[2]
    chosen = torch.nonzero(shown.some(share, n_channels))[:, 0]
    order = torch.arange(n_channels)
    order[chosen] = chosen.roll(1)
    return shown.history_mv[..., order]


def _clipped(shown: CorruptedInputs, share: float) -> Tensor:
    """Clip the lowest and the highest voltages of each channel."""
    reach_mv = shown.sd_mv * float(torch.special.ndtri(torch.tensor(1 - share / 2))) if share else torch.inf
    return shown.history_mv.clamp(shown.mean_mv - reach_mv, shown.mean_mv + reach_mv)


def _late(shown: CorruptedInputs, most_samples: float) -> Tensor:
    """Delay each channel by its own number of samples. The start of the window is mirrored."""
    _, context, n_channels = shown.history_mv.shape
    lag = (shown.rand(n_channels) * (most_samples + 1)).long()
    rows = (torch.arange(context)[:, None] - lag).abs()
    return shown.history_mv.gather(1, rows.expand(len(shown.history_mv), -1, -1))


def _gain(shown: CorruptedInputs, error_percent: float) -> Tensor:
    """Scale the voltage about the training mean."""
    return shown.mean_mv + (1 + error_percent / 100) * (shown.history_mv - shown.mean_mv)


def corruptions(typical_sd_mv: float) -> tuple[Corruption, ...]:
    """List all corruptions.

    Added voltages are graded by the SD of the signal, from about a fiftieth of it to twice it.

    Args:
        typical_sd_mv: SD of a typical channel.
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
    """List all corruptions, graded by the median channel of a window set."""
    _, sd_mv = window_set.calibration_mv(np.arange(len(window_set.recordings)))
    return corruptions(float(sd_mv.median()))


def _round_number(value: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not above a value."""
    decade = 10.0 ** math.floor(math.log10(value))
    return decade * max(digit for digit in (1, 2, 5) if digit * decade <= value)
