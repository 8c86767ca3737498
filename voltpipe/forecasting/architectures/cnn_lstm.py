"""The published CNN-LSTM: convolutions that mix the time steps, then an LSTM over all channels at once."""

from dataclasses import replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from voltpipe.forecasting.architectures.lstm import LstmResidual, LstmResidualSettings
from voltpipe.forecasting.module import Dimensions
from voltpipe.forecasting.recipe import Recipe

_TIME_STEP_DROPOUT = 0.1
"""Share of the convolutions' time steps that are dropped whole in training."""


class CnnLstm(LstmResidual):
    """The next sample of all channels, as the proof of concept forecast it: 2,188,168 parameters, published R2 0.755.

    The residual LSTM, ahead of which convolutions add to its input. They run over the channel axis and take the time
    steps of the context as their channels.
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
        """Filters take in all time steps of a channel and of its neighbours; these are the channel's own."""
        weight = self.convolutions[0].get_parameter("weight")
        return weight[:, :, weight.shape[-1] // 2].flip(1)

    def _last_state(self, inputs: Float[Tensor, "batch context channel"]) -> Float[Tensor, "batch unit"]:
        """What is known after the last sample."""
        return super()._last_state(inputs + self.convolutions(inputs))
