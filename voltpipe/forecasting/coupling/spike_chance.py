"""How likely a channel is to spike soon, given the voltage that it stands at."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.forecasting.coupling.spikes import onsets, standing_at
from voltpipe.forecasting.point_mass import PointMass
from voltpipe.forecasting.training_rows import training_stretches
from voltpipe.windows.window_set import WindowSet


def spike_chances(
    window_set: WindowSet, reset: PointMass, bins: Callable[[Tensor], Tensor], n_bins: int, n_ahead: int
) -> Float[Tensor, "ahead bin"]:
    """The share of training samples in each bin of voltage after which a spike is first seen 1, 2, ... samples later.

    Args:
        window_set: of which only the training rows are read.
        reset: where the voltage stands after a spike.
        bins: gives each voltage's bin.
        n_bins: how many bins there are.
        n_ahead: how many samples ahead.
    """
    spikes = torch.zeros(n_ahead, n_bins, dtype=torch.float64)
    counts = torch.zeros(n_bins, dtype=torch.float64)
    for stretch in training_stretches(window_set, n_before=0, n_after=n_ahead):
        voltage_mv = stretch.samples_mv()
        begins = onsets(standing_at(voltage_mv, reset.voltage_mv, reset.tolerance_mv))
        n_rows = len(voltage_mv) - n_ahead
        bin_of = bins(voltage_mv[:n_rows]).flatten()
        counts += torch.bincount(bin_of, minlength=n_bins)
        for ahead in range(n_ahead):
            later = begins[ahead + 1 :][:n_rows].flatten().double()
            spikes[ahead] += torch.bincount(bin_of, weights=later, minlength=n_bins)
    return (spikes / counts.clamp(min=1)).float()
