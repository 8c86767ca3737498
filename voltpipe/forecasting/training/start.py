"""The start of a training: from nothing, from the weights of an earlier forecaster, or from its last checkpoint."""

from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from voltpipe.forecasting.compute import Compute
from voltpipe.forecasting.forecast_module import TrainableModule
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterConfig
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    TrainingError,
    TrainingState,
    load_checkpoint,
)
from voltpipe.windows.window_set import WindowSet


def begin_or_resume(
    window_set: WindowSet,
    settings: TrainingSettings,
    architecture: str,
    compute: Compute,
    *,
    folder: Path,
    begin_from: Forecaster | None,
    planned_epochs: int,
) -> tuple[Forecaster, Checkpoint]:
    """Build the forecaster with the weights of the newest checkpoint, or as it is before the first epoch."""
    seed_epoch(settings.seed, epoch=0)
    if begin_from:
        _check_continues(begin_from.config, architecture, window_set)
    sizes = begin_from.config.architecture_settings if begin_from else {}
    forecaster = Forecaster.unfitted(architecture, window_set, sizes)
    module = cast(TrainableModule, forecaster.module)
    made_with = {name: str(value) for name, value in settings.model_dump(mode="json").items()}
    made_with["window_set"] = window_set.digest
    checkpoint = load_checkpoint(folder, made_with)
    if checkpoint is None:
        if begin_from:
            module.begin_from(cast(TrainableModule, begin_from.module), window_set)
        else:
            module.fit(window_set)
        state = TrainingState(
            made_with=made_with,
            device=compute.device.value,
            precision=compute.precision.value,
            n_parameters=sum(parameter.numel() for parameter in module.parameters()),
            planned_epochs=planned_epochs,
        )
        return forecaster, Checkpoint(state, weights=copied_state(module), best_weights={}, optimizer={})
    try:
        module.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoints in {folder} do not fit this version's {architecture}; delete the folder to train again",
            code="checkpoint-of-another-version",
        ) from error
    return forecaster, checkpoint


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed torch's random numbers for an epoch; 0 is before the first."""
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]))


def copied_state(module: TrainableModule) -> dict[str, Tensor]:
    """Copy weights and buffers to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def _check_continues(earlier: ForecasterConfig, architecture: str, window_set: WindowSet) -> None:
    """Raise if a training cannot begin with the weights of a forecaster."""
    found = earlier.architecture, earlier.horizons_samples, earlier.rate_hz, len(earlier.channel_names)
    wanted = architecture, window_set.horizons, window_set.rate_hz, window_set.n_channels
    if found != wanted:
        raise TrainingError(
            f"the forecaster to begin from is a {found[0]} for {found[3]} channels at {found[2]:g} Hz and horizons of "
            f"{found[1]} samples, this training is of a {wanted[0]} for {wanted[3]} at {wanted[2]:g} Hz and "
            f"{wanted[1]}; choose another, or leave begin_from unset",
            code="begin-from-incompatible",
        )
    if earlier.conditioning not in ({}, window_set.conditioning):
        raise TrainingError(
            f"the recordings of the forecaster to begin from were conditioned as {earlier.conditioning}, these as "
            f"{window_set.conditioning}; choose another, or leave begin_from unset",
            code="begin-from-conditioned-otherwise",
        )
