"""Look-up: what followed, on average, whenever a channel stood at the voltage it stands at now."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from voltpipe.forecasting.forecast_module import Dimensions, ForecastModule
from voltpipe.schema import Settings
from voltpipe.signals.spike_detection import find_reset_voltage
from voltpipe.windows.split_segments import training_samples_mv, training_segments
from voltpipe.windows.window_set import WindowSet


class LookupTableSettings(Settings):
    """How finely the voltage is told apart."""

    n_bins: int = Field(220, ge=8, le=10_000, description="bins of voltage")


class LookupTable(ForecastModule):
    """The conditional mean E[v(t + h) | v(t)] in mV, pooled over channels, as a table over bins of v(t).

    Half of the bins hold equally many samples and half are equally wide; a point mass (the reset) has one of its own.
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
        """Average the training rows."""
        self.edges_mv.copy_(_edges_mv(training_samples_mv(window_set), len(self.edges_mv)))
        n_bins, n_horizons = self.table_mv.shape
        horizons = self.dimensions.horizons_samples
        sums = torch.zeros(n_horizons, n_bins, dtype=torch.float64)
        counts = torch.zeros(n_bins, dtype=torch.float64)
        for stretch in training_segments(window_set, n_before=0, n_after=horizons[-1]):
            voltage_mv = stretch.samples_mv()
            n_rows = len(voltage_mv) - horizons[-1]
            bins = self.bins(voltage_mv[:n_rows]).flatten()
            counts += torch.bincount(bins, minlength=n_bins)
            for number, horizon in enumerate(horizons):
                ahead_mv = voltage_mv[horizon:][:n_rows].flatten().double()
                sums[number] += torch.bincount(bins, weights=ahead_mv, minlength=n_bins)
        overall = sums.sum(1, keepdim=True) / counts.sum()
        self.table_mv.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), overall).T)

    def bins(self, voltage_mv: Float[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
        """The row of the table that each voltage belongs to."""
        return torch.searchsorted(self.edges_mv, voltage_mv.contiguous(), right=True)

    def expected_mv(self, voltage_mv: Float[Tensor, "*any"]) -> Float[Tensor, "*any horizon"]:
        """What follows each voltage on average, at each horizon."""
        return self.table_mv[self.bins(voltage_mv)]

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Look the last sample up."""
        expected_mv = self.expected_mv(history_z[:, -1] * sd_mv + mean_mv)
        return (expected_mv.mT - mean_mv[:, None]) / sd_mv[:, None]


def _edges_mv(ascending_mv: Float[Tensor, " value"], n_edges: int) -> Float[Tensor, " edge"]:
    """The borders between bins, ascending; equal ones enclose bins that stay empty."""
    point_mass = find_reset_voltage(ascending_mv)
    around_it: list[float] = []
    if point_mass:
        around_it = [point_mass.voltage_mv - point_mass.tolerance_mv, point_mass.voltage_mv + point_mass.tolerance_mv]
    n_quantiles = (n_edges - len(around_it)) // 2
    n_uniform = n_edges - len(around_it) - n_quantiles
    positions = torch.linspace(0, len(ascending_mv) - 1, n_quantiles + 2)[1:-1].long()
    uniform = torch.linspace(float(ascending_mv[0]), float(ascending_mv[-1]), n_uniform)
    return torch.cat([ascending_mv[positions], uniform, torch.tensor(around_it)]).sort().values
