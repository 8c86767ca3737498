"""Tells forecasts apart by the present voltage, and by what is forecast from it."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn


class Cells(nn.Module):
    """Bins of the present voltage, each cut into bins of the forecast, horizon by horizon.

    All bins held equally many values when they were fitted. A voltage that stands at the reset has the first present
    bin for itself.

    Args:
        n_horizons: how many horizons are forecast.
        n_bins: present bins beside the reset's, and forecast bins in each.
    """

    present_edges: Tensor
    forecast_edges: Tensor

    def __init__(self, n_horizons: int, n_bins: int) -> None:
        super().__init__()
        self.n_bins = n_bins
        self.register_buffer("present_edges", torch.zeros(n_bins - 1))
        self.register_buffer("forecast_edges", torch.zeros(n_horizons, n_bins + 1, n_bins - 1))

    @property
    def n_cells(self) -> int:
        """Cells at each horizon."""
        return (self.n_bins + 1) * self.n_bins

    def fit(
        self,
        present: Float[Tensor, " target"],
        at_reset: Bool[Tensor, " target"],
        forecast: Float[Tensor, "horizon target"],
    ) -> None:
        """Place the borders so that each bin holds as many of these values as the next."""
        self.present_edges.copy_(_borders(present[~at_reset], self.n_bins))
        present_bin = self._present_bin(present, at_reset)
        for row in range(self.n_bins + 1):
            inside = forecast[:, present_bin == row]
            for edges, values in zip(self.forecast_edges[:, row], inside, strict=True):
                edges.copy_(_borders(values, self.n_bins))

    def forward(
        self,
        present: Float[Tensor, "*batch channel"],
        at_reset: Bool[Tensor, "*batch channel"],
        forecast: Float[Tensor, "*batch horizon channel"],
    ) -> Int64[Tensor, "*batch horizon channel"]:
        """The cell of each forecast, counted on from horizon to horizon."""
        present_bin = self._present_bin(present, at_reset).unsqueeze(-2)
        horizon = torch.arange(len(self.forecast_edges)).unsqueeze(-1)
        row = horizon * (self.n_bins + 1) + present_bin
        below = self.forecast_edges.flatten(0, 1)[row] <= forecast.unsqueeze(-1)
        return row * self.n_bins + below.sum(-1)

    def _present_bin(self, present: Float[Tensor, "*any"], at_reset: Bool[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
        bins = 1 + torch.searchsorted(self.present_edges, present.contiguous(), right=True)
        return bins.masked_fill(at_reset, 0)


def _borders(values: Float[Tensor, " value"], n_bins: int) -> Float[Tensor, " border"]:
    """What cuts the values into bins of equally many; zeros where there are no values."""
    if not len(values):
        return torch.zeros(n_bins - 1)
    positions = torch.arange(1, n_bins) * len(values) // n_bins
    return values.sort().values[positions]


def nearest_filled(counts: Int64[Tensor, " cell"], n_bins: int) -> Int64[Tensor, " cell"]:
    """For each cell of one horizon, the nearest that holds anything: itself, or one with as near a present bin."""
    row, column = torch.arange(len(counts)) // n_bins, torch.arange(len(counts)) % n_bins
    filled: Any = counts.nonzero()[:, 0]
    distance = (row[:, None] - row[filled]).abs() * n_bins + (column[:, None] - column[filled]).abs()
    nearest: Tensor = filled[distance.argmin(1)]
    return nearest
