"""Causal layers: outputs that depend on the last samples, and on none to come."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, relu


def last_samples(
    features: Float[Tensor, "*any time feature"], n_samples: int, *, apart: int = 1
) -> Float[Tensor, "*any time sample_and_feature"]:
    """The features of the last `n_samples` samples at each sample, `apart` from each other; zero before the first.

    With a linear layer behind it this is a causal convolution, which on a CPU is several times faster than nn.Conv1d.
    """
    n_times, reach = features.shape[-2], (n_samples - 1) * apart
    padded = pad(features, (0, 0, reach, 0))
    return torch.cat([padded.narrow(-2, shift, n_times) for shift in range(0, reach + 1, apart)], dim=-1)


def cnn_lstm_states(
    features: Float[Tensor, "sequence time feature"], convolution: nn.Linear, lstm: nn.LSTM, first_sample: int
) -> Float[Tensor, "sequence step state"]:
    """Run a causal convolution (a linear layer over feature and lag) and an LSTM side by side over the features."""
    kernel_samples = convolution.in_features // features.shape[-1]
    padded = pad(features, (0, 0, kernel_samples - 1, 0))
    taken_in = padded.unfold(1, kernel_samples, 1).flatten(2)[:, first_sample:]
    remembered: Tensor = lstm(features)[0][:, first_sample:]
    return torch.cat([relu(convolution(taken_in)), remembered], dim=-1)


def own_voltage_filters(convolution: nn.Linear, kernel_samples: int) -> Float[Tensor, "filter lag"]:
    """Read what such a convolution weighs the first feature by, most recent sample first."""
    by_feature = convolution.weight.reshape(len(convolution.weight), -1, kernel_samples)
    return by_feature[:, 0].flip(1)
