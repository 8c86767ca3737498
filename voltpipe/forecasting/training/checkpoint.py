"""The state of a training on disk: one folder an epoch, written whole, held by one training at a time.

An epoch's folder holds all that the next epoch depends on. The learning rate, the order of the windows, dropout and
noise follow from settings, epoch and validation losses (see recipe.py, sampling.py), so there is no scheduler, sampler
or generator whose state could be lost.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.forecaster_files import write_tensors
from voltpipe.lake.files import atomic_write_folder, file_digest, read_json, write_json
from voltpipe.lake.locks import exclusive_lock
from voltpipe.progress import EpochRecord
from voltpipe.schema import FrozenModel

_STATE_FILE = "state.json"
_DIGESTS_FILE = "digests.json"
_TENSORS = ("weights", "best_weights", "optimizer")
_EPOCH_FOLDER = re.compile(r"epoch-\d{7}")
_KEPT = 2
"""The newest, and one more should the newest be damaged."""


class CheckpointError(VoltpipeError):
    """Checkpoints that cannot be read, or that belong to another training."""


class TrainingError(VoltpipeError):
    """A training that cannot continue; its last checkpoint is sound."""


class TrainingState(FrozenModel):
    """Where a training stands after an epoch."""

    made_with: dict[str, str] = Field(description="what must be alike for the training to go on")
    device: str
    precision: str
    n_parameters: int
    planned_epochs: int = Field(description="after how many epochs it is expected to end")
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = Field(0, description="the epoch with the lowest validation loss")
    stopped_because: str | None = Field(None, description="none while the training is under way")

    @property
    def epoch(self) -> int:
        """The last complete epoch, counted from 1; 0 before the first."""
        return len(self.history)

    @property
    def elapsed_s(self) -> float:
        """Training time so far, over all resumptions."""
        return self.history[-1].elapsed_s if self.history else 0.0


@dataclass(frozen=True)
class Checkpoint:
    """All that the next epoch depends on, and the weights of the best epoch."""

    state: TrainingState
    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]


@contextmanager
def hold_checkpoint_folder(folder: Path) -> Iterator[None]:
    """Hold a checkpoint folder against every other process, and clear away what a killed one left half-written.

    Raises:
        LockHeldError: another training holds it.
    """
    with exclusive_lock(folder / "lock", wait=False):
        for leftover in folder.glob(".*.partial"):
            shutil.rmtree(leftover)
        yield


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of an epoch, then remove those that are no longer needed."""
    with atomic_write_folder(folder / f"epoch-{checkpoint.state.epoch:07d}") as aside:
        for name in _TENSORS:
            write_tensors(aside / f"{name}.safetensors", getattr(checkpoint, name))
        write_json(aside / _STATE_FILE, checkpoint.state.model_dump(mode="json"))
        # Detects silent disk corruption before training resumes.
        write_json(aside / _DIGESTS_FILE, {path.name: file_digest(path) for path in aside.iterdir()})
    for old in _epoch_folders(folder)[_KEPT:]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, made_with: Mapping[str, str]) -> Checkpoint | None:
    """The newest checkpoint that is undamaged, or None where no epoch is complete.

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
            f"every checkpoint is damaged: {'; '.join(problems)}; delete {folder} to train again",
            code="checkpoints-damaged",
        )
    return None


def read_state(folder: Path) -> TrainingState:
    """Where the training in a checkpoint folder stands, by its newest checkpoint.

    Raises:
        CheckpointError: there is no checkpoint, or it is damaged.
    """
    for epoch_folder in _epoch_folders(folder):
        try:
            return TrainingState.model_validate_json((epoch_folder / _STATE_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise CheckpointError(
                f"{epoch_folder} is damaged ({error}); train again", code="checkpoints-damaged"
            ) from error
    raise CheckpointError(f"{folder} holds no checkpoint; train first", code="checkpoint-missing")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Flatten the optimizer's state to tensors by name."""
    return {
        f"{number}.{name}": tensor.detach().cpu()
        for number, entry in optimizer.state_dict()["state"].items()
        for name, tensor in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load a state that `optimizer_tensors` flattened."""
    state: dict[int, dict[str, Tensor]] = {}
    for flat_name, tensor in tensors.items():
        number, name = flat_name.split(".")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _epoch_folders(folder: Path) -> list[Path]:
    """The newest first."""
    return sorted((path for path in folder.iterdir() if _EPOCH_FOLDER.fullmatch(path.name)), reverse=True)


def _check_undamaged(folder: Path) -> None:
    """Raise if a file of a checkpoint is not what was written."""
    for name, digest in read_json(folder / _DIGESTS_FILE).items():
        if file_digest(folder / name) != digest:
            raise ValueError(f"{name} has changed since it was written")


def _check_same_training(folder: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    if differing:
        raise CheckpointError(
            f"{folder} belongs to another training: "
            + ", ".join(f"{name} was {found.get(name)}, now {expected.get(name)}" for name in differing)
            + "; use another checkpoint folder, or delete this one",
            code="checkpoint-of-another-training",
        )
