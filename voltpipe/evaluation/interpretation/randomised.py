"""A forecaster that has learned nothing, and is otherwise the same."""

from copy import deepcopy
from dataclasses import replace

import torch

from voltpipe.forecasting.forecaster import Forecaster


@torch.no_grad()
def randomised(forecaster: Forecaster, *, seed: int) -> Forecaster:
    """The same architecture with the values of each learned array in random order.

    Sizes and spreads of all weights stay, and what they mean is gone. Tables and couplings that were estimated are
    learned as well, so they are shuffled like weights; scales, and where bins and the reset lie, are kept.
    """
    module = deepcopy(forecaster.module)
    generator = torch.Generator().manual_seed(seed)
    tables = [buffer for buffer in module.buffers() if buffer.is_floating_point() and buffer.dim() > 1]
    for values in (*module.parameters(), *tables):
        order = torch.randperm(values.numel(), generator=generator)
        values.copy_(values.flatten()[order].reshape(values.shape))
    return replace(forecaster, module=module)
