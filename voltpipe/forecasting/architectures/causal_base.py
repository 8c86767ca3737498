"""Base classes of causal models in mV, which learn the residual of a closed-form base forecast at every step."""

from abc import abstractmethod
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from voltpipe.forecasting.baselines.lookup_table import LookupTable, LookupTableSettings
from voltpipe.forecasting.forecast_module import Dimensions, TrainableModule
from voltpipe.forecasting.optimizer_recipe import Recipe
from voltpipe.schema import Settings
from voltpipe.signals.spike_detection import find_reset_voltage, is_at_reset
from voltpipe.windows.split_segments import training_samples_mv
from voltpipe.windows.window_set import WindowSet, to_mv

CouplingMv: TypeAlias = Float[Tensor, "#batch 2 channel channel"] | None
"""Coupling (window, sender type, sender, receiver) in mV: an input of `Adaptable` models, None for all others."""


class CausalSettings(Settings):
    """Settings that all causal models share."""

    read_out_units: int = Field(
        48, ge=1, le=1024, description="Number of units of each layer between states and forecast."
    )
    read_out_layers: int = Field(2, ge=1, le=8, description="Number of layers between states and forecast.")
    warm_up_samples: int = Field(
        20, ge=0, le=1000, description="Number of samples at the start of a window that are excluded from the loss."
    )
    memory_samples: int = Field(50, ge=1, le=10_000, description="Number of most recent samples that a forecast uses.")


class ResidualModule(TrainableModule):
    """Causal model of the residual of a base forecast: forecast = base + SD * read_out(states).

    It works in mV, with the same weights for every channel. The read-out starts at zero, so an untrained model returns
    the base forecast. One input states whether a channel is at reset, if the training voltages have a reset.

    Args:
        settings: settings of the architecture.
        dimensions: sizes of the forecast.
        n_states: number of values that `states` returns for each channel and step.
    """

    settings_type: ClassVar[type[Settings]] = CausalSettings
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
    reset_mv: Tensor
    reset_tolerance_mv: Tensor

    def __init__(self, settings: CausalSettings, dimensions: Dimensions, *, n_states: int) -> None:
        super().__init__(settings, dimensions)
        self.memory_samples = settings.memory_samples
        self.warm_up_samples = min(settings.warm_up_samples, dimensions.context_samples - 1)
        sizes = [n_states, *[settings.read_out_units] * settings.read_out_layers]
        hidden = [layer for pair in pairwise(sizes) for layer in (nn.Linear(*pair), nn.ReLU())]
        last = nn.Linear(sizes[-1], len(dimensions.horizons_samples))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.read_out = nn.Sequential(*hidden, last)
        for statistic in ("typical_mv", "spread_mv", "reset_mv", "reset_tolerance_mv"):
            self.register_buffer(statistic, torch.zeros(()))

    def fit(self, window_set: WindowSet) -> None:
        """Fit the scale of the voltage and the reset on the training rows."""
        samples_mv = training_samples_mv(window_set)
        self.typical_mv.copy_(samples_mv.mean())
        self.spread_mv.copy_(samples_mv.std())
        reset = find_reset_voltage(samples_mv)
        if reset:
            self.reset_mv.fill_(reset.voltage_mv)
            self.reset_tolerance_mv.fill_(reset.tolerance_mv)

    def at_reset(self, voltage_mv: Float[Tensor, "*batch time channel"]) -> Bool[Tensor, "*batch time channel"]:
        """Return whether each voltage in mV is at reset."""
        return is_at_reset(voltage_mv, self.reset_mv, self.reset_tolerance_mv)

    def own_features(self, voltage_mv: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch channel time 2"]:
        """Return each channel's scaled voltage and whether it is at reset."""
        scaled = (voltage_mv - self.typical_mv) / self.spread_mv
        return torch.stack([scaled, self.at_reset(voltage_mv).to(scaled.dtype)], dim=-1).transpose(1, 2)

    @abstractmethod
    def base_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in closed form from each sample, starting at `first_sample`, in mV."""

    @abstractmethod
    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Compute the states at each sample, starting at `first_sample`. No state depends on a later sample.

        Args:
            voltage_mv: history in mV.
            first_sample: first sample whose state is returned; earlier samples are input only.
            coupling_mv: coupling between the channels, in mV.
        """

    def change_mv(
        self, states: Float[Tensor, "batch channel step state"]
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Compute the learned change of the base forecast from the states, in mV."""
        change: Tensor = self.read_out(states)
        return change.float().permute(0, 2, 3, 1) * self.spread_mv

    def forecast_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in mV from each sample, starting at `first_sample`, without using later samples."""
        states = self.states(history_mv, first_sample, coupling_mv)
        return self.base_mv(history_mv, first_sample) + self.change_mv(states)

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
        coupling_mv: CouplingMv = None,
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast from the last sample; only the last `memory_samples` samples enter the states."""
        history_mv = to_mv(history_z, mean_mv, sd_mv)
        recent_mv = history_mv[:, -self.memory_samples :]
        states = self.states(recent_mv, recent_mv.shape[1] - 1, coupling_mv)
        forecast_mv = (self.base_mv(history_mv, history_mv.shape[1] - 1) + self.change_mv(states))[:, 0]
        return (forecast_mv - mean_mv[:, None]) / sd_mv[:, None]

    def training_loss(
        self,
        seen_z: Float[Tensor, "batch time channel"],
        true_z: Float[Tensor, "batch time channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
        coupling_mv: CouplingMv = None,
    ) -> Float[Tensor, ""]:
        """Return the mean squared error in z-units at the targets of every step after the warm-up."""
        context, horizons = self.dimensions.context_samples, self.dimensions.horizons_samples
        first = self.warm_up_samples
        forecast_mv = self.forecast_mv(to_mv(seen_z[:, :context], mean_mv, sd_mv), first, coupling_mv)
        forecast_z = (forecast_mv - mean_mv[:, None, None]) / sd_mv[:, None, None]
        targets_z = torch.stack([true_z[:, first + horizon :][:, : context - first] for horizon in horizons], dim=2)
        return torch.mean((forecast_z - targets_z) ** 2)


class CausalModule(ResidualModule):
    """Causal model whose base forecast is the lookup table of the present voltage, so that it can also stream."""

    bound_to_channels = False

    def __init__(self, settings: CausalSettings, dimensions: Dimensions, *, n_states: int) -> None:
        super().__init__(settings, dimensions, n_states=n_states)
        self.look_up = LookupTable(LookupTableSettings(), dimensions)

    def fit(self, window_set: WindowSet) -> None:
        """Fit the lookup table, the scale of the voltage and the reset on the training rows."""
        self.look_up.fit(window_set)
        super().fit(window_set)

    def base_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast each sample by the lookup table."""
        return self.look_up.expected_mv(history_mv[:, first_sample:]).mT

    def next_states(
        self, voltage_mv: Float[Tensor, "batch 1 channel"], past: Any, coupling_mv: CouplingMv = None
    ) -> tuple[Float[Tensor, "batch channel 1 state"], Any]:
        """Compute the states after one more sample, and the `past` for the next call.

        Args:
            voltage_mv: the new sample, in mV.
            past: second result of the call for the sample before; None at the beginning.
            coupling_mv: coupling between the channels, in mV.
        """
        recent_mv = voltage_mv if past is None else torch.cat([past, voltage_mv], dim=1)[:, -self.memory_samples :]
        return self.states(recent_mv, recent_mv.shape[1] - 1, coupling_mv), recent_mv

    def next_forecast_mv(
        self, voltage_mv: Float[Tensor, "batch channel"], past: Any, coupling_mv: CouplingMv = None
    ) -> tuple[Float[Tensor, "batch horizon channel"], Any]:
        """Forecast in mV after one more sample, and return the `past` for the next call."""
        sample_mv = voltage_mv[:, None]
        states, past = self.next_states(sample_mv, past, coupling_mv)
        return (self.base_mv(sample_mv, 0) + self.change_mv(states))[:, 0], past


def causal_history(
    features: Float[Tensor, "*any time feature"], n_samples: int, *, dilation: int = 1
) -> Float[Tensor, "*any time sample_and_feature"]:
    """Concatenate the features of the last `n_samples` samples at each sample; zero before the first sample.

    The samples are `dilation` samples apart. Followed by a linear layer, this is a causal convolution. On a CPU it is
    several times faster than nn.Conv1d.
    """
    n_times, reach = features.shape[-2], (n_samples - 1) * dilation
    padded = pad(features, (0, 0, reach, 0))
    return torch.cat([padded.narrow(-2, shift, n_times) for shift in range(0, reach + 1, dilation)], dim=-1)


def cnn_lstm_states(
    features: Float[Tensor, "sequence time feature"], convolution: nn.Linear, lstm: nn.LSTM, first_sample: int
) -> Float[Tensor, "sequence step state"]:
    """Run a causal convolution (a linear layer over feature and lag) and an LSTM in parallel over the features."""
    kernel_samples = convolution.in_features // features.shape[-1]
    padded = pad(features, (0, 0, kernel_samples - 1, 0))
    history = padded.unfold(1, kernel_samples, 1).flatten(2)[:, first_sample:]
    lstm_states: Tensor = lstm(features)[0][:, first_sample:]
    return torch.cat([relu(convolution(history)), lstm_states], dim=-1)


def own_voltage_filters(convolution: nn.Linear, kernel_samples: int) -> Float[Tensor, "filter lag"]:
    """Return the convolution's weights of the first feature, the scaled voltage, most recent sample first."""
    by_feature = convolution.weight.reshape(len(convolution.weight), -1, kernel_samples)
    return by_feature[:, 0].flip(1)
