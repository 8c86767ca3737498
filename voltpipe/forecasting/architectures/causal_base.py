"""Causal networks in mV that learn, at every step of a window, what a closed-form base forecast leaves over."""

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
from voltpipe.forecasting.recipe import Recipe
from voltpipe.schema import Settings
from voltpipe.signals.spike_detection import find_reset_voltage, is_at_reset
from voltpipe.windows.split_segments import training_samples_mv
from voltpipe.windows.window_set import WindowSet

CouplingMv: TypeAlias = Float[Tensor, "#batch 2 channel channel"] | None
"""(window, type of sender, sender, receiver): an input of modules that are `Adaptable`, None for all others."""


class CausalSettings(Settings):
    """The settings that all of them have."""

    read_out_units: int = Field(48, ge=1, le=1024, description="units of each layer between the states and forecasts")
    read_out_layers: int = Field(2, ge=1, le=8, description="how many such layers there are")
    warm_up_samples: int = Field(20, ge=0, le=1000, description="samples at a window's start that are not learned from")
    memory_samples: int = Field(50, ge=1, le=10_000, description="samples up to now that a forecast is made from")


class ResidualModule(TrainableModule):
    """A causal network that learns what a base forecast leaves over: forecast = base + SD * read_out(states).

    It works in mV, with the same weights for every channel, and starts as the base forecast itself: the read-out starts
    at zero. One of its inputs says whether a channel is at reset, if the training voltages have such a point mass.

    Args:
        settings: the architecture's own.
        dimensions: the sizes of the forecast.
        n_states: how many values `states` gives.
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
        """Take the scale of the voltage and the reset from the training rows."""
        values_mv = training_samples_mv(window_set)
        self.typical_mv.copy_(values_mv.mean())
        self.spread_mv.copy_(values_mv.std())
        point_mass = find_reset_voltage(values_mv)
        if point_mass:
            self.reset_mv.fill_(point_mass.voltage_mv)
            self.reset_tolerance_mv.fill_(point_mass.tolerance_mv)

    def at_reset(self, voltage_mv: Float[Tensor, "*batch time channel"]) -> Bool[Tensor, "*batch time channel"]:
        """Say of each voltage whether it is the reset."""
        return is_at_reset(voltage_mv, self.reset_mv, self.reset_tolerance_mv)

    def own_features(self, voltage_mv: Float[Tensor, "batch time channel"]) -> Float[Tensor, "batch channel time 2"]:
        """Scale each channel's voltage, and add whether it is at reset."""
        scaled = (voltage_mv - self.typical_mv) / self.spread_mv
        return torch.stack([scaled, self.at_reset(voltage_mv).to(scaled.dtype)], dim=-1).transpose(1, 2)

    @abstractmethod
    def base_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in closed form from each sample on, beginning at `first_sample`, in mV."""

    @abstractmethod
    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Compute the network's states at each sample from `first_sample` on, none of which depends on a later sample.

        Args:
            voltage_mv: the history.
            first_sample: earlier samples are seen, but no state of theirs is returned.
            coupling_mv: how the channels drive each other.
        """

    def change_mv(
        self, states: Float[Tensor, "batch channel step state"]
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Read the learned change of the base forecast out of the states."""
        change: Tensor = self.read_out(states)
        return change.float().permute(0, 2, 3, 1) * self.spread_mv

    def forecast_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast in mV from each sample on, beginning at `first_sample`, from earlier samples alone."""
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
        history_mv = history_z * sd_mv[:, None] + mean_mv[:, None]
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
        """Mean squared error in z-units at the targets of every step after the warm-up."""
        context, horizons = self.dimensions.context_samples, self.dimensions.horizons_samples
        first = self.warm_up_samples
        forecast_mv = self.forecast_mv(seen_z[:, :context] * sd_mv[:, None] + mean_mv[:, None], first, coupling_mv)
        forecast_z = (forecast_mv - mean_mv[:, None, None]) / sd_mv[:, None, None]
        targets_z = torch.stack([true_z[:, first + horizon :][:, : context - first] for horizon in horizons], dim=2)
        return torch.mean((forecast_z - targets_z) ** 2)


class CausalModule(ResidualModule):
    """A causal network whose base forecast is the look-up of the present voltage, so that it can also stream."""

    bound_to_channels = False

    def __init__(self, settings: CausalSettings, dimensions: Dimensions, *, n_states: int) -> None:
        super().__init__(settings, dimensions, n_states=n_states)
        self.look_up = LookupTable(LookupTableSettings(), dimensions)

    def fit(self, window_set: WindowSet) -> None:
        """Fit the look-up and the scale of the voltage on the training rows."""
        self.look_up.fit(window_set)
        super().fit(window_set)

    def base_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Look each sample up."""
        return self.look_up.expected_mv(history_mv[:, first_sample:]).mT

    def next_states(
        self, voltage_mv: Float[Tensor, "batch 1 channel"], past: Any, coupling_mv: CouplingMv = None
    ) -> tuple[Float[Tensor, "batch channel 1 state"], Any]:
        """Compute the states after one more sample; also return what the next call needs as `past`.

        Args:
            voltage_mv: the sample.
            past: what the call for the sample before returned; None at the beginning.
            coupling_mv: how the channels drive each other.
        """
        seen_mv = voltage_mv if past is None else torch.cat([past, voltage_mv], dim=1)[:, -self.memory_samples :]
        return self.states(seen_mv, seen_mv.shape[1] - 1, coupling_mv), seen_mv

    def next_forecast_mv(
        self, voltage_mv: Float[Tensor, "batch channel"], past: Any, coupling_mv: CouplingMv = None
    ) -> tuple[Float[Tensor, "batch horizon channel"], Any]:
        """Forecast in mV after one more sample; also return what the next call needs as `past`."""
        sample_mv = voltage_mv[:, None]
        states, past = self.next_states(sample_mv, past, coupling_mv)
        return (self.base_mv(sample_mv, 0) + self.change_mv(states))[:, 0], past


def causal_history(
    features: Float[Tensor, "*any time feature"], n_samples: int, *, apart: int = 1
) -> Float[Tensor, "*any time sample_and_feature"]:
    """The features of the last `n_samples` samples at each sample, `apart` from each other; zero before the first.

    With a linear layer behind it this is a causal convolution, which on a CPU is several times faster than nn.Conv1d.
    """
    n_times, reach = features.shape[-2], (n_samples - 1) * apart
    padded = pad(features, (0, 0, reach, 0))
    return torch.cat([padded.narrow(-2, shift, n_times) for shift in range(0, reach + 1, apart)], dim=-1)


def cnn_lstm_states(
    features: Float[Tensor, "sequence time feature"], convolution: nn.Linear, lstm: nn.LSTM, first_sample: int
) -> Float[Tensor, "sequence step state"]:
    """Run a causal convolution (a linear layer over feature and lag) and an LSTM side by side over the features."""
    kernel_samples = convolution.in_features // features.shape[-1]
    padded = pad(features, (0, 0, kernel_samples - 1, 0))
    taken_in = padded.unfold(1, kernel_samples, 1).flatten(2)[:, first_sample:]
    remembered: Tensor = lstm(features)[0][:, first_sample:]
    return torch.cat([relu(convolution(taken_in)), remembered], dim=-1)


def own_voltage_filters(convolution: nn.Linear, kernel_samples: int) -> Float[Tensor, "filter lag"]:
    """Read what such a convolution weighs the first feature by, most recent sample first."""
    by_feature = convolution.weight.reshape(len(convolution.weight), -1, kernel_samples)
    return by_feature[:, 0].flip(1)
