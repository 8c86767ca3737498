"""How a forecaster is trained."""

from dataclasses import replace
from enum import StrEnum

from pydantic import Field

from voltpipe.forecasting.recipe import Recipe
from voltpipe.schema import Settings


class Architecture(StrEnum):
    """The networks that can be trained."""

    LSTM = "lstm"
    """The published ladder's first rung. All four: one horizon, weights bound to the channels, slow to learn."""
    LSTM_LARGE = "lstm_large"
    """Its second."""
    LSTM_RESIDUAL = "lstm_residual"
    """Its third."""
    CNN_LSTM = "cnn_lstm"
    """Its last, and the published result."""
    SHARED_CNN_LSTM = "shared_cnn_lstm"
    """Small, all horizons at once, weights shared by all channels."""
    COUPLED_CNN_LSTM = "coupled_cnn_lstm"
    """The same, and each channel hears the spikes of those that drive it. For one organoid's channels."""
    LAGGED_CNN_LSTM = "lagged_cnn_lstm"
    """On top of a lagged regression, for signals without visible spikes; coupled_cnn_lstm becomes this one there."""
    ATTENTION = "attention"
    """Channels attend to each other. For one organoid's channels."""
    MULTI_SCALE = "multi_scale"
    """Convolutions over each channel's past, ever further apart."""
    STATE_SPACE = "state_space"
    """Linear recurrences over each channel's past."""


class Device(StrEnum):
    """Where to train. The order is that of preference."""

    AUTO = "auto"
    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"


class Precision(StrEnum):
    """Of the matrix products in training; weights and everything else are float32 always."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class TrainingSettings(Settings):
    """What is trained, how long, where. What is left at none comes from the architecture's own recipe."""

    architecture: Architecture = Field(Architecture.COUPLED_CNN_LSTM, description="which network is trained")
    begin_from: str | None = Field(
        None,
        description="a registered forecaster, or a folder that holds one, whose weights the training begins with; what "
        "belongs to its organoids is estimated anew",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="decides initial weights, order of windows, dropout and noise")
    budget_s: float = Field(
        120.0,
        ge=1,
        le=7 * 86_400,
        description="training ends after so many seconds; the learning rate is planned for it",
    )
    max_epochs: int = Field(100_000, ge=1, le=1_000_000, description="training ends after so many epochs")
    windows_per_epoch: int | None = Field(
        None, ge=1, le=10**9, description="windows from one validation and checkpoint to the next, at most all"
    )
    batch_size: int | None = Field(None, ge=1, le=65_536, description="windows in one step of the optimizer")
    learning_rate: float | None = Field(None, gt=0, le=1, description="the optimizer's highest learning rate")
    weight_decay: float | None = Field(None, ge=0, le=1, description="how strongly weights are pulled to zero")
    noise_mv: float | None = Field(None, ge=0, le=100, description="SD of the noise added to training inputs, in mV")
    early_stopping_epochs: int | None = Field(
        None, ge=1, le=1_000_000, description="training ends after so many epochs without a better validation loss"
    )
    processes: int = Field(1, ge=1, le=256, description="processes that share each step, on the CPU")
    device: Device = Field(Device.AUTO, description="where to train; auto takes CUDA, then MPS, then the CPU")
    precision: Precision = Field(
        Precision.AUTO, description="of matrix products in training; auto takes bfloat16 where it is faster"
    )

    def adjusted(self, recipe: Recipe) -> Recipe:
        """An architecture's recipe with what is set here instead."""
        names = {
            "windows_per_epoch",
            "batch_size",
            "learning_rate",
            "weight_decay",
            "noise_mv",
            "early_stopping_epochs",
        }
        return replace(recipe, **self.model_dump(include=names, exclude_none=True))
