"""The shared CNN-LSTM: one small causal network that every channel goes through by itself."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from voltpipe.forecasting.architectures.every_step import EveryStepModule
from voltpipe.forecasting.baselines.look_up import LookUp, LookUpSettings
from voltpipe.forecasting.module import Dimensions
from voltpipe.forecasting.point_mass import find_point_mass
from voltpipe.forecasting.recipe import Recipe
from voltpipe.forecasting.training_rows import training_values_mv
from voltpipe.settings import Settings
from voltpipe.windows.window_set import WindowSet

_N_VALUES = 1_000_000


class SharedCnnLstmSettings(Settings):
    """Its sizes, all small: the weights are used once a channel and sample."""

    filters: int = Field(24, ge=1, le=1024, description="filters of each convolution over time")
    kernel_samples: int = Field(3, ge=1, le=101, description="samples that each convolution sees, none of them later")
    hidden_units: int = Field(32, ge=1, le=1024, description="units of the LSTM")
    read_out_units: int = Field(64, ge=1, le=1024, description="units between the LSTM and the forecast")
    warm_up_samples: int = Field(20, ge=0, le=1000, description="samples at a window's start that are not learned from")


class SharedCnnLstm(EveryStepModule):
    """Learns what the look-up of the present voltage leaves over, from each channel's own past, in mV.

    It begins as the look-up itself (the read-out starts at zero), and is told whether a channel stands at reset, if
    the training voltages have such a point mass. All steps of a window but the first few are learned from.
    """

    settings_type: ClassVar[type[Settings]] = SharedCnnLstmSettings
    bound_to_channels: ClassVar[bool] = False
    recipe: ClassVar[Recipe] = Recipe(
        windows_per_epoch=320,
        batch_size=16,
        learning_rate=4e-3,
        weight_decay=1e-4,
        noise_mv=0.0,
        early_stopping_epochs=200,
        warm_up_epochs=0.25,
    )

    typical_mv: Tensor
    spread_mv: Tensor
    reset_mv: Tensor
    reset_tolerance_mv: Tensor

    def __init__(self, settings: SharedCnnLstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        filters, kernel, hidden = settings.filters, settings.kernel_samples, settings.hidden_units
        self.padding = (kernel - 1, 0)
        self.warm_up_samples = min(settings.warm_up_samples, dimensions.context_samples - 1)
        self.look_up = LookUp(LookUpSettings(), dimensions)
        self.convolutions = nn.ModuleList([nn.Conv1d(2, filters, kernel), nn.Conv1d(filters, filters, kernel)])
        self.lstm = nn.LSTM(filters, hidden, batch_first=True)
        last = nn.Linear(settings.read_out_units, len(dimensions.horizons_samples))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.read_out = nn.Sequential(nn.Linear(hidden, settings.read_out_units), nn.ReLU(), last)
        for statistic in ("typical_mv", "spread_mv", "reset_mv", "reset_tolerance_mv"):
            self.register_buffer(statistic, torch.zeros(()))

    def fit(self, window_set: WindowSet) -> None:
        """Fit the look-up, and take the scale of the voltage and the reset from the training rows."""
        self.look_up.fit(window_set)
        values_mv = training_values_mv(window_set, _N_VALUES)
        self.typical_mv.copy_(values_mv.mean())
        self.spread_mv.copy_(values_mv.std())
        point_mass = find_point_mass(values_mv)
        if point_mass:
            self.reset_mv.fill_(point_mass.voltage_mv)
            self.reset_tolerance_mv.fill_(point_mass.tolerance_mv)

    def _states(self, voltage_mv: Float[Tensor, "sequence time"]) -> Float[Tensor, "sequence time unit"]:
        """What the network knows after each sample; nothing of it comes from later samples."""
        scaled = (voltage_mv - self.typical_mv) / self.spread_mv
        at_reset = ((voltage_mv - self.reset_mv).abs() < self.reset_tolerance_mv).to(scaled.dtype)
        features = torch.stack([scaled, at_reset], dim=1)
        for convolution in self.convolutions:
            features = relu(convolution(pad(features, self.padding)))
        states: Tensor = self.lstm(features.mT)[0]
        return states

    def forecast_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in mV from each sample on, beginning at `first_sample`, knowing only what came before."""
        n_windows, _, n_channels = history_mv.shape
        voltage_mv = history_mv.mT.flatten(0, 1)
        change: Tensor = self.read_out(self._states(voltage_mv)[:, first_sample:])
        forecast_mv = self.look_up.expected_mv(voltage_mv[:, first_sample:]) + change.float() * self.spread_mv
        return forecast_mv.reshape(n_windows, n_channels, *forecast_mv.shape[1:]).permute(0, 2, 3, 1)
