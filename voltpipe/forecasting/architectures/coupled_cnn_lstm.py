"""The coupled CNN-LSTM: a small causal network shared by all channels, which hear each other through the coupling."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from voltpipe.forecasting.architectures.every_step import EveryStepModule
from voltpipe.forecasting.baselines.look_up import LookUp, LookUpSettings
from voltpipe.forecasting.coupling.estimate import estimate_coupling
from voltpipe.forecasting.coupling.messages import Messages
from voltpipe.forecasting.module import Dimensions
from voltpipe.forecasting.recipe import Recipe
from voltpipe.forecasting.training_rows import training_values_mv
from voltpipe.settings import Settings
from voltpipe.windows.window_set import WindowSet

_N_VALUES = 1_000_000


class CoupledCnnLstmSettings(Settings):
    """Its sizes, all small: the weights are used once a channel and sample."""

    lags_samples: int = Field(3, ge=1, le=100, description="samples in which a spike has its effect on other channels")
    ahead_samples: int = Field(
        6, ge=1, le=100, description="samples ahead for which other channels' spikes are expected"
    )
    kernel_samples: int = Field(4, ge=1, le=101, description="samples that the convolution sees, none of them later")
    filters: int = Field(48, ge=1, le=1024, description="filters of the convolution over time")
    hidden_units: int = Field(16, ge=1, le=1024, description="units of the LSTM")
    read_out_units: int = Field(48, ge=1, le=1024, description="units of each layer between these and the forecast")
    warm_up_samples: int = Field(20, ge=0, le=1000, description="samples at a window's start that are not learned from")
    memory_samples: int = Field(50, ge=1, le=10_000, description="samples up to now that a forecast is made from")


class CoupledCnnLstm(EveryStepModule):
    """Learns what the look-up of the present voltage leaves over, from a channel's past and from what drives it.

    The coupling is estimated from the training rows before gradient descent begins (see `coupling.estimate`); where
    spikes cannot be seen, there is none, and each channel goes by its own past alone.
    """

    settings_type: ClassVar[type[Settings]] = CoupledCnnLstmSettings
    recipe: ClassVar[Recipe] = Recipe(
        windows_per_epoch=320,
        batch_size=2,
        learning_rate=4e-3,
        weight_decay=1e-4,
        noise_mv=0.0,
        early_stopping_epochs=200,
        warm_up_epochs=0.25,
        cpu_threads=1,
    )

    typical_mv: Tensor
    spread_mv: Tensor

    def __init__(self, settings: CoupledCnnLstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        filters, hidden, read_out = settings.filters, settings.hidden_units, settings.read_out_units
        self.lags_samples = settings.lags_samples
        self.kernel_samples = settings.kernel_samples
        self.memory_samples = settings.memory_samples
        self.warm_up_samples = min(settings.warm_up_samples, dimensions.context_samples - 1)
        self.look_up = LookUp(LookUpSettings(), dimensions)
        self.messages = Messages(dimensions.n_channels, len(self.look_up.table_mv), settings.ahead_samples)
        n_features = 2 + self.messages.n_messages
        # As one matrix product over the last samples: what nn.Conv1d computes, at a fifth of its time on a CPU.
        self.convolution = nn.Linear(n_features * settings.kernel_samples, filters)
        self.lstm = nn.LSTM(n_features, hidden, batch_first=True)
        last = nn.Linear(read_out, len(dimensions.horizons_samples))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.read_out = nn.Sequential(
            nn.Linear(filters + hidden, read_out), nn.ReLU(), nn.Linear(read_out, read_out), nn.ReLU(), last
        )
        for statistic in ("typical_mv", "spread_mv"):
            self.register_buffer(statistic, torch.zeros(()))

    def fit(self, window_set: WindowSet) -> None:
        """Fit the look-up, and estimate the scale of the voltage and the coupling from the training rows."""
        self.look_up.fit(window_set)
        values_mv = training_values_mv(window_set, _N_VALUES)
        self.typical_mv.copy_(values_mv.mean())
        self.spread_mv.copy_(values_mv.std())
        coupling = estimate_coupling(window_set, n_lags=self.lags_samples)
        if coupling:
            self.messages.fit(coupling, window_set, self.look_up.bins)

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast from the last sample, in z-units; what lies behind the memory would cost time and change nothing."""
        return super().forward(history_z[:, -self.memory_samples :], mean_mv, sd_mv)

    def _features(
        self, voltage_mv: Float[Tensor, "batch time channel"], bins: Int64[Tensor, "batch time channel"]
    ) -> Float[Tensor, "sequence time feature"]:
        """All that is known of each channel at each sample."""
        scaled = (voltage_mv - self.typical_mv) / self.spread_mv
        own = torch.stack([scaled, self.messages.at_reset(voltage_mv).to(scaled.dtype)])
        features = torch.cat([own, self.messages(voltage_mv, bins)])
        return features.permute(1, 3, 2, 0).flatten(0, 1)

    def _last_samples(
        self, features: Float[Tensor, "sequence time feature"]
    ) -> Float[Tensor, "sequence time lag_and_feature"]:
        """What the convolution sees at each sample: the features of the last few, zero before the first."""
        padded = pad(features, (0, 0, self.kernel_samples - 1, 0))
        return padded.unfold(1, self.kernel_samples, 1).flatten(2)

    def forecast_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in mV from each sample on, beginning at `first_sample`, knowing only what came before."""
        n_windows, _, n_channels = history_mv.shape
        bins = self.look_up.bins(history_mv)
        features = self._features(history_mv, bins)
        recent = relu(self.convolution(self._last_samples(features)[:, first_sample:]))
        remembered: Tensor = self.lstm(features)[0]
        known = torch.cat([recent, remembered[:, first_sample:]], dim=2)
        change: Tensor = self.read_out(known).float() * self.spread_mv
        change_mv = change.reshape(n_windows, n_channels, *change.shape[1:]).permute(0, 2, 3, 1)
        forecast_mv: Tensor = self.look_up.table_mv[bins[:, first_sample:]].mT + change_mv
        return forecast_mv
