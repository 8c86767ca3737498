"""Settings of a training."""

from dataclasses import replace
from enum import StrEnum

from pydantic import Field

from voltpipe.forecasting.optimizer_recipe import Recipe
from voltpipe.schema import Settings


class Architecture(StrEnum):
    """Architectures of trainable models."""

    LSTM = "lstm"
    """First published model. All four have one horizon and weights bound to channels, and learn slowly."""
    LSTM_LARGE = "lstm_large"
    """Second published model."""
    LSTM_RESIDUAL = "lstm_residual"
    """Third published model."""
    CNN_LSTM = "cnn_lstm"
    """Fourth published model, which gave the published result."""
    SHARED_CNN_LSTM = "shared_cnn_lstm"
    """Small model for all horizons, with weights shared by all channels."""
    COUPLED_CNN_LSTM = "coupled_cnn_lstm"
    """Like shared_cnn_lstm, with the spikes of connected channels as inputs. For the channels of one organoid."""
    LAGGED_CNN_LSTM = "lagged_cnn_lstm"
    """Model of the residual of a lagged regression. It replaces coupled_cnn_lstm for signals without visible spikes."""
    ATTENTION = "attention"
    """Attention between channels. For the channels of one organoid."""
    MULTI_SCALE = "multi_scale"
    """Dilated convolutions over each channel's past."""
    STATE_SPACE = "state_space"
    """Linear recurrences over each channel's past."""


class Device(StrEnum):
    """Device of a training, in order of preference."""

    AUTO = "auto"
    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"


class Precision(StrEnum):
    """Precision of matrix products in training. Weights and everything else stay float32."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class TrainingSettings(Settings):
    """Settings of a training. Settings that are None come from the architecture's recipe."""

    architecture: Architecture = Field(Architecture.COUPLED_CNN_LSTM, description="Architecture of the model.")
    begin_from: str | None = Field(
        None,
        description="Registered forecaster, or a folder with one, whose weights initialize the training. "
        "Its connectivity is not reused but estimated from the new recordings.",
    )
    seed: int = Field(
        0, ge=0, le=2**31 - 1, description="Random seed for initial weights, window order, dropout and noise."
    )
    budget_s: float = Field(
        120.0,
        ge=1,
        le=7 * 86_400,
        description="Time limit of one training run, in s. The learning rate decays over this time.",
    )
    max_epochs: int = Field(100_000, ge=1, le=1_000_000, description="Maximum number of epochs.")
    windows_per_epoch: int | None = Field(
        None,
        ge=1,
        le=10**9,
        description="Number of windows in an epoch, at most all training windows. "
        "Each epoch ends with validation and a checkpoint.",
    )
    batch_size: int | None = Field(None, ge=1, le=65_536, description="Number of windows in each optimizer step.")
    learning_rate: float | None = Field(None, gt=0, le=1, description="Peak learning rate.")
    weight_decay: float | None = Field(None, ge=0, le=1, description="Weight decay of the optimizer.")
    noise_mv: float | None = Field(None, ge=0, le=100, description="SD of the noise added to training inputs, in mV.")
    early_stopping_epochs: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Stop training after this many epochs without a lower validation loss.",
    )
    processes: int = Field(
        1, ge=1, le=256, description="Number of CPU processes that share the work of each optimizer step."
    )
    device: Device = Field(Device.AUTO, description="Device to train on; auto selects CUDA, then MPS, then the CPU.")
    precision: Precision = Field(
        Precision.AUTO, description="Precision of matrix products in training; auto selects bfloat16 if it is faster."
    )

    def adjust(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the values that are set here."""
        names = {
            "windows_per_epoch",
            "batch_size",
            "learning_rate",
            "weight_decay",
            "noise_mv",
            "early_stopping_epochs",
        }
        return replace(recipe, **self.model_dump(include=names, exclude_none=True))
