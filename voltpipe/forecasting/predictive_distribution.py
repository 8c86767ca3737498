"""The predictive distribution of a forecaster."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor, nn

from voltpipe.schema import FrozenModel
from voltpipe.signals.spike_detection import is_at_reset, spike_onsets

_N_STEPS = 64
_TINY = 1e-6


class DistributionConfig(FrozenModel):
    """What stands beside the tables."""

    horizons_samples: tuple[int, ...]
    n_bins: int = Field(description="bins of the present voltage, and of the forecast in each")
    n_scales: int = Field(description="1 if all channels are alike in mV, else the number of channels")
    n_targets: int = Field(description="validation targets at each horizon that the tables were made from")


class PredictiveDistribution(nn.Module):
    """Tables of what followed forecasts alike, cell by cell, on validation windows.

    In each cell the truth stands at the reset with some chance, which is a point mass, or lies off the forecast by a
    residual. Of n residuals the k-th stands for the level k / (n + 1), as in split conformal prediction that is
    conditional on a taxonomy (Vovk et al., Algorithmic Learning in a Random World, 2005, chapter 4).

    Where the voltage has a reset, all channels are alike in mV; else each is taken in units of its own calibration, or
    of the mean calibration if there are other channels than those that were fitted.
    """

    centre_mv: Tensor
    scale_mv: Tensor
    reset_mv: Tensor
    tolerance_mv: Tensor
    residuals: Tensor
    below_reset: Tensor
    at_reset: Tensor
    spike_chances: Tensor

    def __init__(self, config: DistributionConfig) -> None:
        super().__init__()
        self.config = config
        n_horizons = len(config.horizons_samples)
        self.cells = ForecastBins(n_horizons, config.n_bins)
        n_rows = n_horizons * self.cells.n_cells
        self.register_buffer("centre_mv", torch.zeros(config.n_scales))
        self.register_buffer("scale_mv", torch.ones(config.n_scales))
        self.register_buffer("reset_mv", torch.zeros(()))
        self.register_buffer("tolerance_mv", torch.zeros(()))
        self.register_buffer("residuals", torch.zeros(n_rows, _N_STEPS + 1))
        for table in ("below_reset", "at_reset", "spike_chances"):
            self.register_buffer(table, torch.zeros(n_rows))

    @property
    def sees_spikes(self) -> bool:
        """Whether the voltage stands at a reset after spikes, by which they are seen."""
        return bool(self.tolerance_mv > 0)

    def standing_at_reset(self, voltage_mv: Float[Tensor, "*any"]) -> Bool[Tensor, "*any"]:
        """Whether each voltage is the reset."""
        return is_at_reset(voltage_mv, self.reset_mv, self.tolerance_mv)

    def spikes_within(self, samples_mv: Float[Tensor, "batch time channel"]) -> Bool[Tensor, "batch horizon channel"]:
        """Whether a spike is first seen within each horizon.

        Args:
            samples_mv: from the last known sample up to the largest horizon.
        """
        seen = spike_onsets(self.standing_at_reset(samples_mv)).int().cumsum(1) > 0
        return seen[:, list(self.config.horizons_samples)]

    def quantiles_mv(
        self,
        present_mv: Float[Tensor, "*batch channel"],
        forecast_mv: Float[Tensor, "*batch horizon channel"],
        levels: Sequence[float],
    ) -> Float[Tensor, "level *batch horizon channel"]:
        """What the truth stays below with each probability; ascending with the level.

        Where a level falls inside the chance to stand at the reset, its quantile is the reset, moved by up to the
        reset's tolerance so that a truth at the reset lies above it in the lower half of that chance and below it in
        the upper half. An interval between two quantiles thus holds what its levels promise, on average.
        """
        level = torch.tensor(levels).unsqueeze(-1)
        shift, floor, cap = self._pieces(torch.arange(len(self.residuals)), level)
        cell = self._cell(present_mv, forecast_mv)
        forecast = self.scaled(forecast_mv)
        quantiles = [
            (forecast + one_shift[cell]).clamp(one_floor[cell], one_cap[cell])
            for one_shift, one_floor, one_cap in zip(shift, floor, cap, strict=True)
        ]
        return self._in_mv(torch.stack(quantiles))

    def sample_mv(
        self,
        present_mv: Float[Tensor, "*batch channel"],
        forecast_mv: Float[Tensor, "*batch horizon channel"],
        level: Float[Tensor, "*batch horizon channel"],
    ) -> Float[Tensor, "*batch horizon channel"]:
        """The quantile at a level of its own for each target, the reset as it is; a draw, if levels are even draws."""
        shift, floor, cap = self._pieces(self._cell(present_mv, forecast_mv), level)
        drawn = (self.scaled(forecast_mv) + shift).clamp(floor, cap)
        return self._in_mv(torch.where(floor == cap, self.reset_mv, drawn))

    def spike_chance(
        self, present_mv: Float[Tensor, "*batch channel"], forecast_mv: Float[Tensor, "*batch horizon channel"]
    ) -> Float[Tensor, "*batch horizon channel"]:
        """The chance that a spike is first seen within each horizon; zero where spikes cannot be seen."""
        return self.spike_chances[self._cell(present_mv, forecast_mv)]

    def scaled(self, voltage_mv: Float[Tensor, "*any channel"]) -> Float[Tensor, "*any channel"]:
        """Voltages in the units of the tables."""
        centre_mv, scale_mv = self._calibration_mv(voltage_mv.shape[-1])
        return (voltage_mv - centre_mv) / scale_mv

    def _in_mv(self, scaled: Float[Tensor, "*any channel"]) -> Float[Tensor, "*any channel"]:
        centre_mv, scale_mv = self._calibration_mv(scaled.shape[-1])
        return scaled * scale_mv + centre_mv

    def _calibration_mv(self, n_channels: int) -> tuple[Float[Tensor, " scale"], Float[Tensor, " scale"]]:
        if n_channels == self.config.n_scales:
            return self.centre_mv, self.scale_mv
        return self.centre_mv.mean(0, keepdim=True), self.scale_mv.mean(0, keepdim=True)

    def _cell(
        self, present_mv: Float[Tensor, "*batch channel"], forecast_mv: Float[Tensor, "*batch horizon channel"]
    ) -> Int64[Tensor, "*batch horizon channel"]:
        at_reset = self.standing_at_reset(present_mv)
        cell: Tensor = self.cells(self.scaled(present_mv), at_reset, self.scaled(forecast_mv))
        return cell

    def _pieces(
        self, cell: Int64[Tensor, "*any"], level: Float[Tensor, "*other"]
    ) -> tuple[Float[Tensor, "*all"], Float[Tensor, "*all"], Float[Tensor, "*all"]]:
        """What is added to a forecast to make the quantile, and what that is then held above and below."""
        below, at = self.below_reset[cell], self.at_reset[cell]
        beneath, above = level < below, level >= below + at
        elsewhere = (level - torch.where(beneath, 0.0, at)) / (1 - at).clamp(min=_TINY)
        steps = residual_levels()
        step = (torch.searchsorted(steps, elsewhere, right=True) - 1).clamp(0, _N_STEPS - 1)
        share = ((elsewhere - steps[step]) / (steps[step + 1] - steps[step])).clamp(0, 1)
        cell = cell.expand(step.shape)
        shift = torch.lerp(self.residuals[cell, step], self.residuals[cell, step + 1], share)
        infinite = torch.tensor(math.inf)
        if not self.sees_spikes:
            return shift, -infinite.expand(step.shape), infinite.expand(step.shape)
        within = self.reset_mv + self.tolerance_mv * (2 * (level - below) / at.clamp(min=_TINY) - 1)
        floor = torch.where(above, self.reset_mv + self.tolerance_mv, torch.where(beneath, -infinite, within))
        cap = torch.where(beneath, self.reset_mv - self.tolerance_mv, torch.where(above, infinite, within))
        return shift, floor, cap


def residual_levels() -> Float[Tensor, " step"]:
    """The levels at which residuals are tabulated, from 0 to 1, denser towards the tails."""
    return (1 - torch.cos(torch.linspace(0, math.pi, _N_STEPS + 1))) / 2


class ForecastBins(nn.Module):
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


def fill_empty_bins(counts: Int64[Tensor, " cell"], n_bins: int) -> Int64[Tensor, " cell"]:
    """For each cell of one horizon, the nearest that holds anything: itself, or one with as near a present bin."""
    row, column = torch.arange(len(counts)) // n_bins, torch.arange(len(counts)) % n_bins
    filled: Any = counts.nonzero()[:, 0]
    distance = (row[:, None] - row[filled]).abs() * n_bins + (column[:, None] - column[filled]).abs()
    nearest: Tensor = filled[distance.argmin(1)]
    return nearest
