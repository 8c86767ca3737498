"""Train a forecaster within a budget: plan, step, validate, checkpoint, stop.

A training that was interrupted resumes after its last epoch and ends with the same weights: initial weights, order of
windows, dropout and noise follow from seed and epoch alone, and the learning rate from progress against the planned
number of epochs. The plan is `max_epochs`, or as many epochs as the budget has room for at the last one's pace, if
that is fewer; it is renewed after each epoch and kept in the checkpoint. All that the clock decides is kept in the
history of the epochs, so a training can be repeated without a clock.
"""

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Int64

from voltpipe.forecasting.compute import Compute, cpu_threads, flush_denormals, retain_allocator_memory
from voltpipe.forecasting.forecast_module import TrainableModule
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module_registry import ARCHITECTURES, suitable_architecture
from voltpipe.forecasting.recipe import Recipe, learning_rate
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.checkpoint import (
    Checkpoint,
    hold_checkpoint_folder,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from voltpipe.forecasting.training.data_parallel import Share, SharedGradient, process_group, share_by_torchrun
from voltpipe.forecasting.training.fitting import fit_novelty_detector, with_distribution
from voltpipe.forecasting.training.optimization import backpropagate, couplings_by_window, make_optimizer, take_step
from voltpipe.forecasting.training.sampling import training_windows, validation_windows
from voltpipe.forecasting.training.start import begin_or_resume, copied_state, seed_epoch
from voltpipe.forecasting.training.training_result import TrainingResult, read_result, write_result
from voltpipe.forecasting.training.validation import validate
from voltpipe.progress import EpochRecord, TrainingProgress
from voltpipe.windows.window_set import WindowSet


def train(
    window_set: WindowSet,
    settings: TrainingSettings,
    *,
    checkpoint_folder: Path,
    progress: TrainingProgress,
    begin_from: Forecaster | None = None,
    repeat: Sequence[EpochRecord] = (),
) -> TrainingResult:
    """Train a forecaster, or resume the training whose checkpoints are in the folder.

    A training begins with the weights of `begin_from`, if given: the forecaster that `settings.begin_from` names. One
    that is complete is not trained again: its result comes back at once. `read_result` reads it as well.

    With the history of an earlier training in `repeat`, it has as many epochs of as many windows at the same learning
    rates as that one, whatever the clock says.

    Under torchrun every rank calls this alike; rank 0 trains, the others share its steps and then read the result.

    Raises:
        DeviceError: the requested device or precision is not available.
        ForecasterError: the window set lacks a horizon that the architecture is made for.
        TrainingDataError: too few windows or rows.
        CheckpointError: the folder is in use, damaged, or belongs to another training.
        TrainingError: a loss or gradient is not finite, `begin_from` is of another kind, or a process has ended.
    """
    compute = Compute.choose(settings.device, settings.precision)
    retain_allocator_memory()
    architecture = suitable_architecture(settings.architecture, window_set)
    recipe = settings.adjust(ARCHITECTURES[architecture].recipe)
    sizes = begin_from.config.architecture_settings if begin_from else {}
    share = Share(architecture, sizes, recipe, window_set.folder, compute)
    if share_by_torchrun(share):
        return read_result(checkpoint_folder)
    threads = cpu_threads(recipe.cpu_threads)
    with hold_checkpoint_folder(checkpoint_folder), torch.random.fork_rng(devices=[]), flush_denormals(), threads:
        training = _Training(window_set, settings, architecture, recipe, compute, checkpoint_folder, begin_from, repeat)
        resumed_after_epoch, is_complete = training.state.epoch, bool(training.state.stopped_because)
        if not is_complete:
            progress.started(
                resumed_after_epoch=resumed_after_epoch,
                device=training.state.device,
                parameters=training.state.n_parameters,
            )
        n_processes = 1 if is_complete else settings.processes
        with process_group(share, n_processes) as is_shared:
            training.prepare(is_shared)
            while not training.state.stopped_because:
                training.run_epoch()
                progress.epoch_finished(training.state.history[-1])
            result = write_result(checkpoint_folder, training.best_forecaster(), training.state, resumed_after_epoch)
            training.dismiss_others()
        return result


class _Training:
    """A training in memory, after `state.epoch` epochs."""

    def __init__(
        self,
        window_set: WindowSet,
        settings: TrainingSettings,
        architecture: str,
        recipe: Recipe,
        compute: Compute,
        folder: Path,
        begin_from: Forecaster | None,
        repeat: Sequence[EpochRecord],
    ) -> None:
        self.window_set, self.settings, self.recipe, self.compute = window_set, settings, recipe, compute
        self.folder, self.repeat = folder, repeat
        self.began_s = time.monotonic()
        self.validation_windows = validation_windows(window_set)
        self.forecaster, checkpoint = begin_or_resume(
            window_set,
            settings,
            architecture,
            compute,
            folder=folder,
            begin_from=begin_from,
            planned_epochs=repeat[0].planned_epochs if repeat else settings.max_epochs,
        )
        self.module = cast(TrainableModule, self.forecaster.module)
        self.state, self.best_weights = checkpoint.state, checkpoint.best_weights
        self.optimizer_state = checkpoint.optimizer
        self.began_s -= self.state.elapsed_s

    def prepare(self, is_shared: bool) -> None:
        """Move the module to its device, and set up optimizer, gradient, and the couplings by window."""
        self.module.to(self.compute.device.value)
        self.shared = SharedGradient(self.module) if is_shared else None
        self.couplings = couplings_by_window(self.module, self.window_set)
        self.optimizer = make_optimizer(self.module, self.recipe)
        restore_optimizer(self.optimizer, self.optimizer_state)

    def run_epoch(self) -> None:
        """Train, validate, plan ahead, decide whether to stop, and write the checkpoint."""
        began_s = time.monotonic()
        epoch = self.state.epoch + 1
        seed_epoch(self.settings.seed, epoch)
        windows = training_windows(
            self.window_set, seed=self.settings.seed, epoch=epoch, windows_per_epoch=self.recipe.windows_per_epoch
        )
        train_loss, n_seen = self._learn_from(windows)
        trained_s = time.monotonic() - began_s
        validation_loss, r2 = validate(
            self.module, self.window_set, self.validation_windows, self.compute, self.couplings
        )
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
        weights, best_epoch = copied_state(self.module), self.state.best_epoch
        if validation_loss < min((past.validation_loss for past in self.state.history), default=math.inf):
            self.best_weights, best_epoch = weights, epoch
        reached = {
            "planned_epochs": planned_epochs,
            "history": (*self.state.history, record),
            "best_epoch": best_epoch,
            "stopped_because": self._reason_to_stop(epoch, best_epoch, planned_epochs),
        }
        self.state = self.state.model_copy(update=reached)
        tensors = optimizer_tensors(self.optimizer)
        save_checkpoint(self.folder, Checkpoint(self.state, weights, self.best_weights, tensors))

    def _learn_from(self, windows: Int64[np.ndarray, " window"]) -> tuple[float, int]:
        """Take steps until all windows are seen or time is out; return the mean loss and how many were seen."""
        self.module.train()
        gradient = partial(backpropagate, self.module, self.recipe, self.window_set, self.compute, self.couplings)
        shared = self.shared
        loss_sum, seen = 0.0, 0
        while seen < len(windows) and not (seen and self._is_out_of_time(seen)):
            batch = windows[seen : seen + self.recipe.batch_size]
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate(seen / len(windows))
            self.optimizer.zero_grad()
            loss = shared.lead(batch, gradient) if shared else gradient(batch)
            loss_sum += take_step(self.module, self.optimizer, self.recipe, loss) * len(batch)
            seen += len(batch)
        return loss_sum / seen, seen

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
        """Return after how many epochs the training will end if each takes as long as the last."""
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
        """Complete the forecaster on the CPU: best weights, predictive distribution, novelty detector."""
        self.module.cpu().load_state_dict(self.best_weights)
        return fit_novelty_detector(with_distribution(self.forecaster, self.window_set), self.window_set)

    def dismiss_others(self) -> None:
        """Let the processes that share the steps end."""
        if self.shared:
            self.shared.dismiss()
