"""The lagged CNN-LSTM: for signals without visible spikes, such as field potentials.

    forecast = lagged regression + SD * MLP([relu(conv(f)), LSTM(f)])

Here f is each channel's scaled voltage and whether it is at reset. The regression covers the contribution of other
channels; convolution and LSTM learn from a channel's own past.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from voltpipe.forecasting.architectures.causal_base import (
    CausalSettings,
    CouplingMv,
    ResidualModule,
    cnn_lstm_states,
    own_voltage_filters,
)
from voltpipe.forecasting.baselines.lagged_regression import LaggedRegression, LaggedRegressionSettings
from voltpipe.forecasting.forecast_module import Dimensions
from voltpipe.schema import Settings
from voltpipe.windows.window_set import WindowSet

_N_FEATURES = 2


class LaggedCnnLstmSettings(CausalSettings):
    """Settings of the lagged CNN-LSTM. All sizes are small, since it runs once for each channel and sample."""

    kernel_samples: int = Field(4, ge=1, le=101, description="Number of samples in the causal convolution kernel.")
    filters: int = Field(48, ge=1, le=1024, description="Number of filters of the convolution over time.")
    hidden_units: int = Field(16, ge=1, le=1024, description="Number of units of the LSTM.")


class LaggedCnnLstm(ResidualModule):
    """A causal convolution and an LSTM over each channel's own past, on top of a lagged regression.

    The regression needs the whole context, so the model forecasts windows only and cannot stream.
    """

    settings_type: ClassVar[type[Settings]] = LaggedCnnLstmSettings

    def __init__(self, settings: LaggedCnnLstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions, n_states=settings.filters + settings.hidden_units)
        self.warm_up_samples = max(self.warm_up_samples, dimensions.context_samples // 2)
        self.kernel_samples = settings.kernel_samples
        self.convolution = nn.Linear(_N_FEATURES * settings.kernel_samples, settings.filters)
        self.lstm = nn.LSTM(_N_FEATURES, settings.hidden_units, batch_first=True)
        self.lagged = LaggedRegression(LaggedRegressionSettings(), dimensions)

    def fit(self, window_set: WindowSet) -> None:
        """Fit the regression, the scale of the voltage and the reset on the training rows."""
        super().fit(window_set)
        self.lagged.fit(window_set)

    def base_mv(
        self, history_mv: Float[Tensor, "batch time channel"], first_sample: int
    ) -> Float[Tensor, "batch step horizon channel"]:
        """Forecast by the lagged regression."""
        return self.lagged.expected_mv(history_mv, first_sample)

    def voltage_filters(self) -> Float[Tensor, "filter lag"]:
        """Return the convolution's filters of the channel's own voltage, most recent sample first."""
        return own_voltage_filters(self.convolution, self.kernel_samples)

    def states(
        self, voltage_mv: Float[Tensor, "batch time channel"], first_sample: int, coupling_mv: CouplingMv = None
    ) -> Float[Tensor, "batch channel step state"]:
        """Concatenate the outputs of convolution and LSTM."""
        features = self.own_features(voltage_mv).flatten(0, 1)
        states = cnn_lstm_states(features, self.convolution, self.lstm, first_sample)
        return states.reshape(len(voltage_mv), -1, *states.shape[1:])


def settings_from_coupled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the settings of a `coupled_cnn_lstm` saved by version 0.1.0 for a signal without visible spikes."""
    return {name: value for name, value in settings.items() if name in LaggedCnnLstmSettings.model_fields}


def weights_from_coupled(weights: Mapping[str, Tensor], kernel_samples: int) -> dict[str, Tensor]:
    """Convert the weights of a `coupled_cnn_lstm` saved by version 0.1.0 for a signal without visible spikes.

    Lookup table and couplings are dropped, and so are the weights of inputs that are always zero without spikes.
    """
    dropped = ("look_up.", "memory.", "messages.")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(dropped)}
    by_feature = kept["convolution.weight"].reshape(len(kept["convolution.weight"]), -1, kernel_samples)
    kept["convolution.weight"] = by_feature[:, :_N_FEATURES].flatten(1).contiguous()
    kept["lstm.weight_ih_l0"] = kept["lstm.weight_ih_l0"][:, :_N_FEATURES].contiguous()
    return kept
