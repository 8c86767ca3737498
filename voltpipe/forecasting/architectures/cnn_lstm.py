"""The published CNN-LSTM: convolutions that mix the time steps, then an LSTM over all channels at once."""

from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from voltpipe.forecasting.module import Dimensions, TrainedModule
from voltpipe.forecasting.recipe import Decay, Recipe
from voltpipe.settings import Settings


class CnnLstmSettings(Settings):
    """Its published sizes."""

    hidden_units: int = Field(384, ge=1, le=4096, description="units of each LSTM layer")
    dropout: float = Field(0.25, ge=0, lt=1, description="share of activations dropped in training")


class CnnLstm(TrainedModule):
    """The next sample of all channels, as the proof of concept forecast it: 2,188,168 parameters at its sizes.

    The convolutions run over the channel axis and take the time steps of the context as their channels.
    """

    settings_type: ClassVar[type[Settings]] = CnnLstmSettings
    only_horizons: ClassVar[tuple[int, ...] | None] = (1,)
    recipe: ClassVar[Recipe] = Recipe(
        windows_per_epoch=1_000_000,
        batch_size=32,
        learning_rate=3e-3,
        weight_decay=1e-4,
        decoupled_weight_decay=False,
        noise_mv=0.2,
        early_stopping_epochs=20,
        warm_up_epochs=5.0,
        warm_up_from=5e-6,
        decay=Decay.PLATEAU,
        plateau_patience=3,
        plateau_factor=0.7,
    )

    def __init__(self, settings: CnnLstmSettings, dimensions: Dimensions) -> None:
        super().__init__(settings, dimensions)
        context, n_channels = dimensions.context_samples, dimensions.n_channels
        hidden, dropout = settings.hidden_units, settings.dropout
        self.convolutions = nn.Sequential(
            nn.Conv1d(context, context, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.BatchNorm1d(context),
            nn.Dropout(dropout),
            nn.Conv1d(context, context, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.BatchNorm1d(context),
            nn.Dropout(dropout),
        )
        self.lstm = nn.LSTM(n_channels, hidden, num_layers=2, dropout=dropout, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.residual = nn.Linear(n_channels, hidden)
        self.read_out = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, n_channels))

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast the next sample."""
        features = history_z + self.convolutions(history_z)
        states, _ = self.lstm(features)
        last_state: Tensor = self.norm(states[:, -1]) + self.residual(history_z[:, -1])
        return torch.unsqueeze(self.read_out(last_state), 1)
