"""The published sequence of models up to the CNN-LSTM: LSTMs over all channels that forecast the next sample.

Sizes and recipes come from the history of the proof of concept (NOTICE.md). It trained the first three models on
windows of 100 samples with 0.3 mV of noise. Here, the windows have any length, and the noise is 0.2 mV as for the
fourth model. The weights are initialized as by torch: first forecasts are smaller, which helps short trainings.
"""

from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from voltpipe.forecasting.forecast_module import Dimensions, TrainableModule
from voltpipe.forecasting.optimizer_recipe import Decay, Recipe
from voltpipe.schema import Settings

HiddenUnits = Annotated[int, Field(ge=1, le=4096, description="Number of units of each LSTM layer.")]
Layers = Annotated[int, Field(ge=2, le=16, description="Number of layers of the LSTM.")]
Dropout = Annotated[float, Field(ge=0, lt=1, description="Share of activations dropped in training.")]


class LstmSettings(Settings):
    """Published sizes of the first model."""

    hidden_units: HiddenUnits = 256
    layers: Layers = 2
    dropout: Dropout = 0.3


class Lstm(TrainableModule):
    """LSTM with a linear read-out of the last state: published R2 0.511, 918,628 parameters for 100 channels."""

    settings_type: ClassVar[type[Settings]] = LstmSettings
    only_horizons: ClassVar[tuple[int, ...] | None] = (1,)
    recipe: ClassVar[Recipe] = Recipe(
        windows_per_epoch=1_000_000,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.0,
        decoupled_weight_decay=False,
        noise_mv=0.2,
        early_stopping_epochs=10,
        decay=Decay.PLATEAU,
        plateau_patience=5,
        plateau_factor=0.5,
    )

    def __init__(self, settings: LstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        n_channels, hidden, dropout = dimensions.n_channels, settings.hidden_units, settings.dropout
        self.lstm = nn.LSTM(n_channels, hidden, num_layers=settings.layers, dropout=dropout, batch_first=True)
        self.read_out = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, n_channels))

    def _last_state(self, inputs: Float[Tensor, "batch context channel"]) -> Float[Tensor, "batch unit"]:
        """Return the state after the last sample."""
        states: Tensor = self.lstm(inputs)[0]
        return states[:, -1]

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast the next sample."""
        return torch.unsqueeze(self.read_out(self._last_state(history_z)), 1)


class LstmResidualSettings(LstmSettings):
    """Published sizes of the third model."""

    hidden_units: HiddenUnits = 384
    dropout: Dropout = 0.25


class LstmResidual(Lstm):
    """LSTM with layer norm on the last state and a residual connection from the last sample: published R2 0.615."""

    settings_type: ClassVar[type[Settings]] = LstmResidualSettings
    recipe: ClassVar[Recipe] = replace(
        Lstm.recipe,
        learning_rate=2e-3,
        weight_decay=5e-5,
        early_stopping_epochs=20,
        warm_up_epochs=5.0,
        warm_up_from=5e-6,
        plateau_patience=3,
        plateau_factor=0.7,
    )

    def __init__(self, settings: LstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        self.norm = nn.LayerNorm(settings.hidden_units)
        self.residual = nn.Linear(dimensions.n_channels, settings.hidden_units)

    def _last_state(self, inputs: Float[Tensor, "batch context channel"]) -> Float[Tensor, "batch unit"]:
        """Return the state after the last sample."""
        state: Tensor = self.norm(super()._last_state(inputs)) + self.residual(inputs[:, -1])
        return state


class LstmLargeSettings(LstmSettings):
    """Published sizes of the second model."""

    hidden_units: HiddenUnits = 512
    layers: Layers = 3
    dropout: Dropout = 0.2


class LstmLarge(LstmResidual):
    """Wider and deeper LSTM: published R2 0.526, from an unstable training that stopped at epoch 17.

    The published table lists layer norm and residual connection only for the third model, but the code that scored
    0.526 has both.
    """

    settings_type: ClassVar[type[Settings]] = LstmLargeSettings
    recipe: ClassVar[Recipe] = replace(
        LstmResidual.recipe,
        learning_rate=5e-3,
        weight_decay=1e-4,
        early_stopping_epochs=15,
        warm_up_epochs=10.0,
        warm_up_from=1e-6,
    )


_TIME_STEP_DROPOUT = 0.1
"""Share of time steps that the convolutions drop in training."""


class CnnLstm(LstmResidual):
    """CNN-LSTM of the proof of concept: published R2 0.755, 2,188,168 parameters for 100 channels.

    Convolutions add to the input of the residual LSTM. They run along the channel axis, with the time steps of the
    context as their input channels.
    """

    recipe: ClassVar[Recipe] = replace(LstmResidual.recipe, learning_rate=3e-3, weight_decay=1e-4)

    def __init__(self, settings: LstmResidualSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        context = dimensions.context_samples
        self.convolutions = nn.Sequential(
            nn.Conv1d(context, context, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.BatchNorm1d(context),
            nn.Dropout1d(_TIME_STEP_DROPOUT),
            nn.Conv1d(context, context, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.BatchNorm1d(context),
            nn.Dropout1d(_TIME_STEP_DROPOUT),
        )

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Return the filters' weights of the channel itself, most recent sample first.

        The filters also cover the neighboring channels, whose weights are left out.
        """
        weight = self.convolutions[0].get_parameter("weight")
        return weight[:, :, weight.shape[-1] // 2].flip(1)

    def _last_state(self, inputs: Float[Tensor, "batch context channel"]) -> Float[Tensor, "batch unit"]:
        """Return the state after the last sample."""
        return super()._last_state(inputs + self.convolutions(inputs))
