"""Lookup table: the mean future voltage, given the present voltage of a channel."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from voltpipe.forecasting.forecast_module import Dimensions, ForecastModule
from voltpipe.schema import Settings
from voltpipe.signals.spike_detection import find_reset_voltage
from voltpipe.windows.split_segments import training_samples_mv, training_segments
from voltpipe.windows.window_set import WindowSet, to_mv


class LookupTableSettings(Settings):
    """Settings of the lookup table."""

    n_bins: int = Field(220, ge=8, le=10_000, description="Number of bins of the voltage.")


class LookupTable(ForecastModule):
    """Conditional mean E[v(t + h) | v(t)] in mV, pooled over channels, as a table over bins of v(t).

    Half of the bin edges are quantiles of the samples and half are equally spaced. The reset voltage has its own bin.
    """

    settings_type: ClassVar[type[Settings]] = LookupTableSettings
    bound_to_channels = False

    edges_mv: Tensor
    table_mv: Tensor

    def __init__(self, settings: LookupTableSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        self.register_buffer("edges_mv", torch.zeros(settings.n_bins - 1))
        self.register_buffer("table_mv", torch.zeros(settings.n_bins, len(dimensions.horizons_samples)))

    def fit(self, window_set: WindowSet) -> None:
        """Average the future voltage of the training rows in each bin."""
        self.edges_mv.copy_(_edges_mv(training_samples_mv(window_set), len(self.edges_mv)))
        n_bins, n_horizons = self.table_mv.shape
        horizons = self.dimensions.horizons_samples
        sums = torch.zeros(n_horizons, n_bins, dtype=torch.float64)
        counts = torch.zeros(n_bins, dtype=torch.float64)
        for segment in training_segments(window_set, n_before=0, n_after=horizons[-1]):
            voltage_mv = segment.samples_mv()
            n_rows = len(voltage_mv) - horizons[-1]
            bins = self.bins(voltage_mv[:n_rows]).flatten()
            counts += torch.bincount(bins, minlength=n_bins)
            for row, horizon in enumerate(horizons):
                ahead_mv = voltage_mv[horizon:][:n_rows].flatten().double()
                sums[row] += torch.bincount(bins, weights=ahead_mv, minlength=n_bins)
        overall = sums.sum(1, keepdim=True) / counts.sum()
        self.table_mv.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), overall).T)

    def bins(self, voltage_mv: Float[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
        """Return the row of the table for each voltage in mV."""
        return torch.searchsorted(self.edges_mv, voltage_mv.contiguous(), right=True)

    def expected_mv(self, voltage_mv: Float[Tensor, "*any"]) -> Float[Tensor, "*any horizon"]:
        """Return the mean voltage in mV that follows each voltage, at each horizon."""
        return self.table_mv[self.bins(voltage_mv)]

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast from the last sample alone."""
        expected_mv = self.expected_mv(to_mv(history_z[:, -1], mean_mv, sd_mv))
        return (expected_mv.mT - mean_mv[:, None]) / sd_mv[:, None]


def _edges_mv(ascending_mv: Float[Tensor, " value"], n_edges: int) -> Float[Tensor, " edge"]:
    """Return the ascending edges of the bins; bins between equal edges stay empty."""
    reset = find_reset_voltage(ascending_mv)
    reset_edges_mv: list[float] = []
    if reset:
        reset_edges_mv = [reset.voltage_mv - reset.tolerance_mv, reset.voltage_mv + reset.tolerance_mv]
    n_quantiles = (n_edges - len(reset_edges_mv)) // 2
    n_uniform = n_edges - len(reset_edges_mv) - n_quantiles
    positions = torch.linspace(0, len(ascending_mv) - 1, n_quantiles + 2)[1:-1].long()
    uniform = torch.linspace(float(ascending_mv[0]), float(ascending_mv[-1]), n_uniform)
    return torch.cat([ascending_mv[positions], uniform, torch.tensor(reset_edges_mv)]).sort().values
