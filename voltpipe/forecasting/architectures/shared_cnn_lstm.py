"""The shared CNN-LSTM: one small causal model that is applied to each channel separately."""

from typing import ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from voltpipe.forecasting.architectures.causal_base import CausalModule, CausalSettings, CouplingMv
from voltpipe.forecasting.forecast_module import Dimensions
from voltpipe.forecasting.optimizer_recipe import Recipe
from voltpipe.schema import Settings


class SharedCnnLstmSettings(CausalSettings):
    """Settings of the shared CNN-LSTM. All sizes are small, since it runs once for each channel and sample."""

    filters: int = Field(24, ge=1, le=1024, description="Number of filters of each convolution over time.")
    kernel_samples: int = Field(3, ge=1, le=101, description="Number of samples in each causal convolution kernel.")
    hidden_units: int = Field(32, ge=1, le=1024, description="Number of units of the LSTM.")
    read_out_units: int = Field(
        64, ge=1, le=1024, description="Number of units of each layer between LSTM and forecast."
    )
    read_out_layers: int = Field(1, ge=1, le=8, description="Number of layers between LSTM and forecast.")


class SharedCnnLstm(CausalModule):
    """Two causal convolutions over each channel's own past, followed by an LSTM."""

    settings_type: ClassVar[type[Settings]] = SharedCnnLstmSettings
    recipe: ClassVar[Recipe] = Recipe(
        windows_per_epoch=320,
        batch_size=16,
        learning_rate=4e-3,
        weight_decay=1e-4,
        noise_mv=0.0,
        early_stopping_epochs=200,
        warm_up_epochs=0.25,
    )

    def __init__(self, settings: SharedCnnLstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions, n_states=settings.hidden_units)
        filters, kernel = settings.filters, settings.kernel_samples
        self.padding = (kernel - 1, 0)
        self.convolutions = nn.ModuleList([nn.Conv1d(2, filters, kernel), nn.Conv1d(filters, filters, kernel)])
        self.lstm = nn.LSTM(filters, settings.hidden_units, batch_first=True)

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Return the filters of the first convolution, most recent sample first."""
        by_input: Tensor = self.convolutions[0].get_parameter("weight")
        return by_input[:, 0].flip(1)

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Return the outputs of the LSTM."""
        own = self.own_features(voltage_mv)
        features = own.flatten(0, 1).mT
        for convolution in self.convolutions:
            features = relu(convolution(pad(features, self.padding)))
        states: Tensor = self.lstm(features.mT)[0][:, first_sample:]
        return states.reshape(*own.shape[:2], *states.shape[1:])
