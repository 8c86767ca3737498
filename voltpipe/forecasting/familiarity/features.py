"""What a history looks like, channel by channel and as a whole, in a few figures."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

CHANNEL_FEATURES = ("level", "spread", "change from sample to sample", "largest step", "how often it stands still")
MAINS_HZ = (50.0, 60.0)
WHOLE_FEATURES = (
    *(f"{name} in many channels" for _ in ("mean", "spread about it") for name in CHANNEL_FEATURES),
    "how much all channels move together",
    *(f"{hz:g} Hz hum in all channels" for hz in MAINS_HZ),
)
_LEAST = 1e-3
"""Of a training SD: below it, nothing moves."""


def channel_features(scaled: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch channel feature"]:
    """The `CHANNEL_FEATURES` of histories that are scaled by each channel's own mean and SD in training.

    Spreads and steps are logarithms. The correlation of neighbouring samples follows from spread and change.
    """
    steps = scaled.diff(dim=1)
    of_each = (
        scaled.mean(1),
        _log(scaled.std(1, correction=0)),
        _log(steps.std(1, correction=0)),
        _log(steps.abs().amax(1)),
        (steps == 0).to(scaled.dtype).mean(1),
    )
    return torch.stack(of_each, dim=-1)


def whole_features(
    features_z: Float[Tensor, "batch channel feature"], together: Float[Tensor, "batch common"]
) -> Float[Tensor, "batch whole"]:
    """The `WHOLE_FEATURES`: what is a little odd in all channels is seen in all of them before it is in any.

    Args:
        features_z: the channels' features, about each one's mean in training and in its SDs.
        together: what `common_features` gives.
    """
    return torch.cat([features_z.mean(1), _log(features_z.square().mean(1).sqrt()), together], dim=1)


def common_features(scaled: Float[Tensor, "batch time channel"], rate_hz: float) -> Float[Tensor, "batch common"]:
    """How much the mean of all channels moves, as a logarithm, and its amplitudes at the mains' frequencies."""
    mean = scaled.mean(2)
    centred = mean - mean.mean(1, keepdim=True)
    time_s = torch.arange(mean.shape[1]) / rate_hz
    waves = torch.stack([torch.exp(2j * math.pi * hz * time_s) for hz in MAINS_HZ], dim=1)
    amplitudes = (centred.to(waves.dtype) @ waves).abs() / len(time_s)
    return torch.cat([_log(mean.std(1, correction=0, keepdim=True)), amplitudes], dim=1)


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=_LEAST).log()
