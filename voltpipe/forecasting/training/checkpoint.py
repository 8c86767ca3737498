"""Checkpoints of a training, one folder for each epoch, and how a training starts or resumes from them.

The folder of an epoch holds everything that the next epoch depends on. Learning rate, window order, dropout and noise
follow from settings, epoch and validation losses (see optimizer_recipe.py, sampling.py). There is no scheduler, sampler
or generator state to lose.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.compute import Compute
from voltpipe.forecasting.forecast_module import TrainableModule
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterConfig, write_tensors
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.sampling import seed_epoch
from voltpipe.lake.files import atomic_write_folder, file_digest, read_json, write_json
from voltpipe.lake.locks import exclusive_lock
from voltpipe.progress import EpochRecord
from voltpipe.schema import FrozenModel
from voltpipe.windows.window_set import WindowSet

_STATE_FILE = "state.json"
_DIGESTS_FILE = "digests.json"
_TENSORS = ("weights", "best_weights", "optimizer")
_EPOCH_FOLDER = re.compile(r"epoch-\d{7}")
_N_KEPT = 2
"""Number of checkpoints kept: the newest, and a spare in case it is damaged."""


class CheckpointError(VoltpipeError):
    """Checkpoints are unreadable or belong to another training."""


class TrainingError(VoltpipeError):
    """The training cannot continue. Its last checkpoint is intact."""


class StopReason(StrEnum):
    """Stable code for the end of a training."""

    EPOCHS_DONE = "epochs-done"
    EPOCHS_REPEATED = "epochs-repeated"
    """A repeated training has as many epochs as the first one."""
    NO_IMPROVEMENT = "no-improvement"
    BUDGET_SPENT = "budget-spent"


class TrainingState(FrozenModel):
    """Progress of a training after an epoch."""

    made_with: dict[str, str] = Field(description="Settings and window set, which a resumed training must share.")
    device: str
    precision: str
    n_parameters: int
    planned_epochs: int = Field(description="Number of epochs after which the training is expected to end.")
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = Field(0, description="Epoch with the lowest validation loss.")
    stopped_because: str | None = Field(None, description="Sentence on why the training ended. None until it ends.")
    stop_reason: StopReason | None = Field(
        None, description="Code of that reason. None until the training ends, and in checkpoints of version 0.1."
    )

    @property
    def epoch(self) -> int:
        """The last complete epoch, counted from 1; 0 before the first."""
        return len(self.history)

    @property
    def elapsed_s(self) -> float:
        """Training time so far in seconds, over all resumptions."""
        return self.history[-1].elapsed_s if self.history else 0.0


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next epoch depends on, and the weights of the best epoch."""

    state: TrainingState
    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]


@contextmanager
def hold_checkpoint_folder(folder: Path) -> Iterator[None]:
    """Lock a checkpoint folder, and delete partial checkpoints of a killed training.

    Raises:
        LockHeldError: another training holds the lock.
    """
    with exclusive_lock(folder / "lock", wait=False):
        for leftover in folder.glob(".*.partial"):
            shutil.rmtree(leftover)
        yield


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
    """Build the forecaster and load the newest checkpoint, or make the one before the first epoch.

    Raises:
        CheckpointError: the checkpoints are damaged, or belong to another training or version.
        TrainingError: `begin_from` does not fit the architecture or the window set.
    """
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
            f"The checkpoints in {folder} do not fit this version's {architecture}. Delete the folder and train again.",
            code="checkpoint-of-another-version",
        ) from error
    return forecaster, checkpoint


def copied_state(module: TrainableModule) -> dict[str, Tensor]:
    """Copy weights and buffers to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of an epoch, then delete all but the two newest."""
    with atomic_write_folder(folder / f"epoch-{checkpoint.state.epoch:07d}") as partial:
        for name in _TENSORS:
            write_tensors(partial / f"{name}.safetensors", getattr(checkpoint, name))
        write_json(partial / _STATE_FILE, checkpoint.state.model_dump(mode="json"))
        # Detects silent disk corruption before training resumes.
        write_json(partial / _DIGESTS_FILE, {path.name: file_digest(path) for path in partial.iterdir()})
    for old in _epoch_folders(folder)[_N_KEPT:]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, made_with: Mapping[str, str]) -> Checkpoint | None:
    """Load the newest intact checkpoint; return None if no epoch is complete.

    Raises:
        CheckpointError: all are damaged, or they belong to a training with other settings or data.
    """
    problems = []
    for epoch_folder in _epoch_folders(folder):
        try:
            _check_undamaged(epoch_folder)
            state = TrainingState.model_validate_json((epoch_folder / _STATE_FILE).read_bytes())
            tensors = {name: load_file(epoch_folder / f"{name}.safetensors") for name in _TENSORS}
        except (OSError, ValueError, SafetensorError) as error:
            problems.append(f"{epoch_folder} ({error})")
            continue
        _check_same_training(epoch_folder, state.made_with, made_with)
        return Checkpoint(state, **tensors)
    if problems:
        raise CheckpointError(
            f"Every checkpoint is damaged: {'; '.join(problems)}. Delete {folder} and train again.",
            code="checkpoints-damaged",
        )
    return None


def read_state(folder: Path) -> TrainingState:
    """Read the state of a training from its newest checkpoint.

    Raises:
        CheckpointError: there is no checkpoint, or the newest is damaged.
    """
    for epoch_folder in _epoch_folders(folder):
        try:
            return TrainingState.model_validate_json((epoch_folder / _STATE_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise CheckpointError(
                f"Checkpoint {epoch_folder} is damaged ({error}). Train again.", code="checkpoints-damaged"
            ) from error
    raise CheckpointError(f"{folder} contains no checkpoint. Train first.", code="checkpoint-missing")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten the optimizer's state to tensors, named `<parameter number>.<state name>`."""
    return {
        f"{number}.{name}": tensor.detach().cpu()
        for number, entry in optimizer.state_dict()["state"].items()
        for name, tensor in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load the optimizer's state from the tensors of `optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for flat_name, tensor in tensors.items():
        number, name = flat_name.split(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _epoch_folders(folder: Path) -> list[Path]:
    """List the folders of complete epochs, the newest first."""
    return sorted((path for path in folder.iterdir() if _EPOCH_FOLDER.fullmatch(path.name)), reverse=True)


def _check_undamaged(folder: Path) -> None:
    for name, digest in read_json(folder / _DIGESTS_FILE).items():
        if file_digest(folder / name) != digest:
            raise ValueError(f"the digest of {name} has changed")


def _check_same_training(folder: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if differing:
        changes = ", ".join(f"{name} was {found.get(name)}, now {expected.get(name)}" for name in differing)
        raise CheckpointError(
            f"{folder} belongs to another training: {changes}. Use another checkpoint folder, or delete this one.",
            code="checkpoint-of-another-training",
        )


def _check_continues(earlier: ForecasterConfig, architecture: str, window_set: WindowSet) -> None:
    """Raise if a training cannot begin with the weights of an earlier forecaster."""
    found = earlier.architecture, earlier.horizons_samples, earlier.rate_hz, len(earlier.channel_names)
    expected = architecture, window_set.horizons, window_set.rate_hz, window_set.n_channels
    if found != expected:
        kinds = [
            f"{kind[0]} for {kind[3]} channels at {kind[2]:g} Hz with horizons {kind[1]}" for kind in (found, expected)
        ]
        raise TrainingError(
            f"The forecaster in begin_from is a {kinds[0]}. This training needs a {kinds[1]}. "
            "Choose another forecaster, or leave begin_from unset.",
            code="begin-from-incompatible",
        )
    if earlier.conditioning not in ({}, window_set.conditioning):
        raise TrainingError(
            f"The recordings of the forecaster in begin_from were conditioned as {earlier.conditioning}. These were "
            f"conditioned as {window_set.conditioning}. Choose another forecaster, or leave begin_from unset.",
            code="begin-from-conditioned-otherwise",
        )
