"""Predictive distribution of a forecaster: quantiles and spike probability, tabulated by cells."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from pydantic import Field
from torch import Tensor, nn

from voltpipe.schema import FrozenModel
from voltpipe.signals.spike_detection import is_at_reset, spike_onsets
from voltpipe.windows.window_set import to_mv

_N_STEPS = 64
"""Number of intervals between tabulated levels of the residuals."""
_TINY = 1e-6
"""Smallest denominator."""


class DistributionConfig(FrozenModel):
    """Config of the predictive distribution, saved next to its tables."""

    horizons_samples: tuple[int, ...]
    n_bins: int = Field(description="Number of bins of the present voltage, and of the forecast within each.")
    n_scales: int = Field(description="1 if all channels share one scale in mV; otherwise the number of channels.")
    n_targets: int = Field(description="Number of validation targets at each horizon in the tables.")


class PredictiveDistribution(nn.Module):
    """Predictive distribution, tabulated from the outcomes of similar forecasts (a cell) on validation windows.

    In each cell, the future voltage is at the reset with some probability (a point mass); otherwise it deviates from
    the forecast by a residual. The k-th of n residuals has the level k / (n + 1), as in split conformal prediction
    conditional on a taxonomy (Vovk et al., Algorithmic Learning in a Random World, 2005, chapter 4).

    If the voltage has a reset, all channels share one scale in mV. Otherwise each channel has the scale of its own
    calibration, or of the mean calibration if the number of channels differs from that in the fit.
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
        """True if the voltage has a reset, from which spikes are detected."""
        return bool(self.tolerance_mv > 0)

    def standing_at_reset(self, voltage_mv: Float[Tensor, "*any"]) -> Bool[Tensor, "*any"]:
        """Return whether each voltage in mV is at reset."""
        return is_at_reset(voltage_mv, self.reset_mv, self.tolerance_mv)

    def spikes_within(self, samples_mv: Float[Tensor, "batch time channel"]) -> Bool[Tensor, "batch horizon channel"]:
        """Return whether a spike onset lies within each horizon.

        Args:
            samples_mv: samples from the last known one up to the largest horizon, in mV.
        """
        seen = spike_onsets(self.standing_at_reset(samples_mv)).int().cumsum(1) > 0
        return seen[:, list(self.config.horizons_samples)]

    def quantiles_mv(
        self,
        present_mv: Float[Tensor, "*batch channel"],
        forecast_mv: Float[Tensor, "*batch horizon channel"],
        levels: Sequence[float],
    ) -> Float[Tensor, "level *batch horizon channel"]:
        """Return the quantiles of the voltage at each level, in mV; they increase with the level.

        If a level falls inside the point mass at the reset, its quantile is the reset, shifted by up to the tolerance.
        A voltage at reset then lies above the quantile in the lower half of the point mass, and below it in the upper
        half. An interval between two quantiles thus has, on average, the coverage of its levels.
        """
        level = torch.tensor(levels).unsqueeze(-1)
        shift, floor, cap = self._shift_and_bounds(torch.arange(len(self.residuals)), level)
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
        """Return the quantile in mV at a separate level for each target, without shifting the reset.

        With uniform random levels, this draws samples.
        """
        shift, floor, cap = self._shift_and_bounds(self._cell(present_mv, forecast_mv), level)
        drawn = (self.scaled(forecast_mv) + shift).clamp(floor, cap)
        return self._in_mv(torch.where(floor == cap, self.reset_mv, drawn))

    def spike_chance(
        self, present_mv: Float[Tensor, "*batch channel"], forecast_mv: Float[Tensor, "*batch horizon channel"]
    ) -> Float[Tensor, "*batch horizon channel"]:
        """Return the probability of a spike onset within each horizon; zero if spikes cannot be detected."""
        return self.spike_chances[self._cell(present_mv, forecast_mv)]

    def scaled(self, voltage_mv: Float[Tensor, "*any channel"]) -> Float[Tensor, "*any channel"]:
        """Convert voltages in mV to the units of the tables."""
        centre_mv, scale_mv = self._calibration_mv(voltage_mv.shape[-1])
        return (voltage_mv - centre_mv) / scale_mv

    def _in_mv(self, scaled: Float[Tensor, "*any channel"]) -> Float[Tensor, "*any channel"]:
        return to_mv(scaled, *self._calibration_mv(scaled.shape[-1]))

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

    def _shift_and_bounds(
        self, cell: Int64[Tensor, "*any"], level: Float[Tensor, "*other"]
    ) -> tuple[Float[Tensor, "*all"], Float[Tensor, "*all"], Float[Tensor, "*all"]]:
        """Return the shift from forecast to quantile, and the lower and upper bound of the result."""
        p_below, p_at = self.below_reset[cell], self.at_reset[cell]
        is_below, is_above = level < p_below, level >= p_below + p_at
        residual_level = (level - torch.where(is_below, 0.0, p_at)) / (1 - p_at).clamp(min=_TINY)
        steps = residual_levels()
        step = (torch.searchsorted(steps, residual_level, right=True) - 1).clamp(0, _N_STEPS - 1)
        share = ((residual_level - steps[step]) / (steps[step + 1] - steps[step])).clamp(0, 1)
        cell = cell.expand(step.shape)
        shift = torch.lerp(self.residuals[cell, step], self.residuals[cell, step + 1], share)
        infinite = torch.tensor(math.inf)
        if not self.sees_spikes:
            return shift, -infinite.expand(step.shape), infinite.expand(step.shape)
        at_reset_mv = self.reset_mv + self.tolerance_mv * (2 * (level - p_below) / p_at.clamp(min=_TINY) - 1)
        floor = torch.where(is_above, self.reset_mv + self.tolerance_mv, torch.where(is_below, -infinite, at_reset_mv))
        cap = torch.where(is_below, self.reset_mv - self.tolerance_mv, torch.where(is_above, infinite, at_reset_mv))
        return shift, floor, cap


def residual_levels() -> Float[Tensor, " step"]:
    """Return the levels at which residuals are tabulated, from 0 to 1, denser toward the tails."""
    return (1 - torch.cos(torch.linspace(0, math.pi, _N_STEPS + 1))) / 2


class ForecastBins(nn.Module):
    """Bins of the present voltage, each divided into bins of the forecast at each horizon.

    The edges are quantiles of the values in the fit. The first present bin is reserved for voltages at reset.

    Args:
        n_horizons: number of horizons.
        n_bins: number of present bins in addition to that of the reset, and of forecast bins within each.
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
        """Number of cells at each horizon."""
        return (self.n_bins + 1) * self.n_bins

    def fit(
        self,
        present: Float[Tensor, " target"],
        at_reset: Bool[Tensor, " target"],
        forecast: Float[Tensor, "horizon target"],
    ) -> None:
        """Set the edges so that all bins contain equal numbers of these values."""
        self.present_edges.copy_(_edges(present[~at_reset], self.n_bins))
        present_bin = self._present_bin(present, at_reset)
        for row in range(self.n_bins + 1):
            inside = forecast[:, present_bin == row]
            for edges, values in zip(self.forecast_edges[:, row], inside, strict=True):
                edges.copy_(_edges(values, self.n_bins))

    def forward(
        self,
        present: Float[Tensor, "*batch channel"],
        at_reset: Bool[Tensor, "*batch channel"],
        forecast: Float[Tensor, "*batch horizon channel"],
    ) -> Int64[Tensor, "*batch horizon channel"]:
        """Return the cell of each forecast; cells are numbered consecutively over all horizons."""
        present_bin = self._present_bin(present, at_reset).unsqueeze(-2)
        horizon = torch.arange(len(self.forecast_edges)).unsqueeze(-1)
        row = horizon * (self.n_bins + 1) + present_bin
        below = self.forecast_edges.flatten(0, 1)[row] <= forecast.unsqueeze(-1)
        return row * self.n_bins + below.sum(-1)

    def _present_bin(self, present: Float[Tensor, "*any"], at_reset: Bool[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
        bins = 1 + torch.searchsorted(self.present_edges, present.contiguous(), right=True)
        return bins.masked_fill(at_reset, 0)


def _edges(values: Float[Tensor, " value"], n_bins: int) -> Float[Tensor, " edge"]:
    """Return edges that divide the values into bins of equal counts; zeros if there are no values."""
    if not len(values):
        return torch.zeros(n_bins - 1)
    positions = torch.arange(1, n_bins) * len(values) // n_bins
    return values.sort().values[positions]


def fill_empty_bins(counts: Int64[Tensor, " cell"], n_bins: int) -> Int64[Tensor, " cell"]:
    """Return the nearest non-empty cell for each cell of one horizon; the present bin counts more than the forecast."""
    row, column = torch.arange(len(counts)) // n_bins, torch.arange(len(counts)) % n_bins
    filled: Any = counts.nonzero()[:, 0]
    distance = (row[:, None] - row[filled]).abs() * n_bins + (column[:, None] - column[filled]).abs()
    nearest: Tensor = filled[distance.argmin(1)]
    return nearest
