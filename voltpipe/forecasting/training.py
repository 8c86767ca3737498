"""Trains a forecaster within a budget, from checkpoint to checkpoint.

A training that was interrupted goes on from its last epoch to the same weights: initial weights, order of windows,
dropout and noise follow from seed and epoch alone, and the learning rate from progress against the planned number of
epochs. The plan is `max_epochs`, or as many epochs as the budget has room for at the last one's pace, if that is
fewer; it is renewed after each epoch and kept in the checkpoint. What the clock decided stands in the history of the
epochs, so a training can be repeated without a clock.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from voltpipe.forecasting.architectures.registry import ARCHITECTURES
from voltpipe.forecasting.checkpoint import (
    Checkpoint,
    TrainingState,
    held_exclusively,
    load_checkpoint,
    save_checkpoint,
)
from voltpipe.forecasting.data_parallel import helper_processes
from voltpipe.forecasting.device import Compute, cpu_threads, denormals_flushed, keep_memory
from voltpipe.forecasting.distribution.fit import calibrated
from voltpipe.forecasting.epoch import Descent, TrainingError
from voltpipe.forecasting.familiarity.fit import familiar
from voltpipe.forecasting.forecaster import Forecaster, ForecasterConfig
from voltpipe.forecasting.module import TrainedModule
from voltpipe.forecasting.progress import EpochRecord, Progress
from voltpipe.forecasting.recipe import learning_rate
from voltpipe.forecasting.sampling import training_windows, validation_windows
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training_result import TrainingResult, write_result
from voltpipe.forecasting.validation import validate
from voltpipe.windows.window_set import WindowSet


def train(
    window_set: WindowSet,
    settings: TrainingSettings,
    *,
    checkpoint_folder: Path,
    progress: Progress,
    begin_from: Forecaster | None = None,
    repeat: Sequence[EpochRecord] = (),
) -> TrainingResult:
    """Train a forecaster, or go on with the training whose checkpoints lie in the folder.

    A training begins with the weights of `begin_from`, if given: the forecaster that `settings.begin_from` names. One
    that is complete is not begun again: its result comes back at once. `read_result` reads it as well.

    With the history of an earlier training in `repeat`, it has as many epochs of as many windows at the same learning
    rates as that one, whatever the clock says.

    Raises:
        DeviceError: the device or precision that was asked for is not to be had.
        ForecasterError: the window set lacks a horizon that the architecture is made for.
        TrainingDataError: too few windows or rows.
        CheckpointError: the folder is in use, damaged, or belongs to another training.
        TrainingError: a loss or gradient is not finite, or what to begin from is of another kind.
    """
    compute = Compute.chosen(settings.device, settings.precision)
    keep_memory()
    threads = cpu_threads(ARCHITECTURES[settings.architecture].recipe.cpu_threads)
    with held_exclusively(checkpoint_folder), torch.random.fork_rng(devices=[]), denormals_flushed(), threads:
        training = _Training(window_set, settings, compute, checkpoint_folder, begin_from, repeat)
        resumed_after_epoch = training.state.epoch
        if not training.state.stopped_because:
            progress.started(
                resumed_after_epoch=resumed_after_epoch,
                device=training.state.device,
                parameters=training.state.n_parameters,
            )
        with training.descending():
            while not training.state.stopped_because:
                training.run_epoch()
                progress.epoch_finished(training.state.history[-1])
        return write_result(checkpoint_folder, training.best_forecaster(), training.state, resumed_after_epoch)


class _Training:
    """A training in memory, as it stands after `state.epoch` epochs."""

    def __init__(
        self,
        window_set: WindowSet,
        settings: TrainingSettings,
        compute: Compute,
        folder: Path,
        begin_from: Forecaster | None,
        repeat: Sequence[EpochRecord],
    ) -> None:
        self.window_set, self.settings, self.compute, self.folder = window_set, settings, compute, folder
        self.repeat = repeat
        self.began_s = time.monotonic()
        self.validation_windows = validation_windows(window_set)
        _seed(settings.seed, epoch=0)
        if begin_from:
            _check_continues(begin_from.config, settings, window_set)
        sizes = begin_from.config.architecture_settings if begin_from else None
        self.forecaster = Forecaster.unfitted(settings.architecture, window_set, sizes)
        self.module = cast(TrainedModule, self.forecaster.module)
        self.recipe = settings.adjusted(self.module.recipe)
        made_with = {name: str(value) for name, value in settings.model_dump(mode="json").items()}
        made_with["window_set"] = window_set.digest
        checkpoint = load_checkpoint(folder, made_with) or self._beginning(made_with, begin_from)
        self.state, self.best_weights = checkpoint.state, checkpoint.best_weights
        self.began_s -= self.state.elapsed_s
        self.module.load_state_dict(checkpoint.weights)
        self.optimizer_tensors = checkpoint.optimizer

    def _beginning(self, made_with: dict[str, str], begin_from: Forecaster | None) -> Checkpoint:
        if begin_from:
            self.module.begin_from(cast(TrainedModule, begin_from.module), self.window_set)
        else:
            self.module.fit(self.window_set)
        state = TrainingState(
            made_with=made_with,
            device=self.compute.device.value,
            precision=self.compute.precision.value,
            n_parameters=sum(parameter.numel() for parameter in self.module.parameters()),
            planned_epochs=self.repeat[0].planned_epochs if self.repeat else self.settings.max_epochs,
        )
        return Checkpoint(state, weights=_copied(self.module), best_weights={}, optimizer={})

    @contextmanager
    def descending(self) -> Iterator[None]:
        """Ready to run epochs, alone or with processes that help."""
        module = self.module.to(self.compute.device.value)
        n_processes = 1 if self.state.stopped_because else self.settings.processes
        with helper_processes(module, self.recipe, self.window_set, self.compute, n_processes) as helpers:
            module.prepare(self.window_set)
            self.descent = Descent(module, self.recipe, self.window_set, self.compute, helpers)
            self.descent.restore_optimizer(self.optimizer_tensors)
            yield

    def run_epoch(self) -> None:
        """Train, validate, plan ahead and write the checkpoint."""
        began_s = time.monotonic()
        epoch = self.state.epoch + 1
        _seed(self.settings.seed, epoch)
        windows = training_windows(
            self.window_set,
            seed=self.settings.seed,
            epoch=epoch,
            windows_per_epoch=self.recipe.windows_per_epoch,
        )
        train_loss, n_seen = self.descent.run(
            windows, learning_rate=self._learning_rate, out_of_time=self._is_out_of_time
        )
        trained_s = time.monotonic() - began_s
        validation_loss, r2 = validate(self.module, self.window_set, self.validation_windows, self.compute)
        epoch_s = time.monotonic() - began_s
        planned_epochs = self._plan(epoch, epoch_s)
        record = EpochRecord(
            epoch=epoch,
            elapsed_s=time.monotonic() - self.began_s,
            train_loss=train_loss,
            validation_loss=validation_loss,
            validation_r2=r2,
            learning_rate=self._learning_rate(0.5),
            windows_per_s=n_seen / trained_s,
            remaining_s=(planned_epochs - epoch) * epoch_s,
            windows_seen=n_seen,
            planned_epochs=self.state.planned_epochs,
        )
        self._finish_epoch(record, planned_epochs)

    def _finish_epoch(self, record: EpochRecord, planned_epochs: int) -> None:
        weights, best_epoch = _copied(self.module), self.state.best_epoch
        if record.validation_loss < min((past.validation_loss for past in self.state.history), default=math.inf):
            self.best_weights, best_epoch = weights, record.epoch
        reached = {
            "planned_epochs": planned_epochs,
            "history": (*self.state.history, record),
            "best_epoch": best_epoch,
            "stopped_because": self._reason_to_stop(record.epoch, best_epoch, planned_epochs),
        }
        self.state = self.state.model_copy(update=reached)
        tensors = self.descent.optimizer_tensors()
        save_checkpoint(self.folder, Checkpoint(self.state, weights, self.best_weights, tensors))

    def _learning_rate(self, share_of_epoch: float) -> float:
        return learning_rate(
            self.recipe,
            progress=self.state.epoch + share_of_epoch,
            planned_epochs=self.state.planned_epochs,
            losses=[record.validation_loss for record in self.state.history],
        )

    def _remaining_s(self) -> float:
        return self.settings.budget_s - (time.monotonic() - self.began_s)

    def _is_out_of_time(self, windows_seen: int) -> bool:
        if self.repeat:
            return windows_seen >= self.repeat[self.state.epoch].windows_seen
        return self._remaining_s() <= 0

    def _plan(self, epoch: int, epoch_s: float) -> int:
        """After how many epochs the training will end, by what `epoch` of them took."""
        if self.repeat:
            return self.repeat[min(epoch, len(self.repeat) - 1)].planned_epochs
        return min(self.settings.max_epochs, epoch + max(0, int(self._remaining_s() / epoch_s)))

    def _reason_to_stop(self, epoch: int, best_epoch: int, planned_epochs: int) -> str | None:
        if self.repeat:
            return f"all {epoch} epochs are repeated" if epoch >= len(self.repeat) else None
        if epoch >= self.settings.max_epochs:
            return f"all {epoch} epochs are done"
        if epoch - best_epoch >= self.recipe.early_stopping_epochs:
            return f"the validation loss has not fallen since epoch {best_epoch}"
        if epoch >= planned_epochs:
            return f"the budget of {self.settings.budget_s:g} s has no room for another epoch"
        return None

    def best_forecaster(self) -> Forecaster:
        """The forecaster with its best weights, its predictive distribution and what is familiar to it, on the CPU."""
        self.module.cpu().load_state_dict(self.best_weights)
        return familiar(calibrated(self.forecaster, self.window_set), self.window_set)


def _check_continues(earlier: ForecasterConfig, settings: TrainingSettings, window_set: WindowSet) -> None:
    """Raise if the weights of a forecaster cannot be gone on with."""
    found = earlier.architecture, earlier.horizons_samples, earlier.rate_hz, len(earlier.channel_names)
    wanted = settings.architecture.value, window_set.horizons, window_set.rate_hz, window_set.n_channels
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


def _seed(seed: int, epoch: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]))


def _copied(module: TrainedModule) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}
