"""The training loop: plan, step, validate, checkpoint, stop.

An interrupted training resumes after its last epoch and ends with the same weights. Initial weights, window order,
dropout and noise follow from seed and epoch alone. The learning rate follows from progress against the planned number
of epochs: `max_epochs`, or fewer if the time budget, at the pace of the last epoch, allows fewer. The plan is updated
after each epoch and saved in the checkpoint. The history of epochs records everything that the clock decided, so a
training can be repeated without a clock.
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
from voltpipe.forecasting.optimizer_recipe import Recipe, learning_rate
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.checkpoint import (
    Checkpoint,
    StopReason,
    begin_or_resume,
    copied_state,
    hold_checkpoint_folder,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from voltpipe.forecasting.training.data_parallel import Share, SharedGradient, process_group, share_by_torchrun
from voltpipe.forecasting.training.epoch import (
    backpropagate,
    couplings_by_window,
    make_optimizer,
    take_step,
    validate,
)
from voltpipe.forecasting.training.fitting import fit_novelty_detector, with_distribution
from voltpipe.forecasting.training.sampling import seed_epoch, training_windows, validation_windows
from voltpipe.forecasting.training.training_result import TrainingResult, read_result, write_result
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

    If the training is already complete, its result is returned at once, as by `read_result`. Under torchrun every rank
    makes the same call: rank 0 trains, the others compute their shares of each step and then read the result.

    Args:
        window_set: its training and validation windows are used.
        settings: architecture, recipe, budget and device.
        checkpoint_folder: belongs to one training, that is, to one window set with the same settings.
        progress: is called at the start and after each epoch.
        begin_from: the forecaster that `settings.begin_from` names. Training begins with its weights.
        repeat: history of an earlier training. Epochs, windows and learning rates are taken from it, not from the
            clock.

    Raises:
        DeviceError: the requested device or precision is not available.
        ForecasterError: the window set lacks a horizon that the architecture needs.
        TrainingDataError: there are too few windows or samples.
        CheckpointError: the checkpoints are damaged, or belong to another training.
        LockHeldError: another training holds the folder.
        TrainingError: loss or gradient is not finite, `begin_from` does not fit, or a process has ended.
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
            if training.shared:
                training.shared.dismiss()
        return result


class _Training:
    """State of a training after `state.epoch` epochs, in memory."""

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
        """Move the model to its device, and set up shared gradient, couplings by window, and optimizer."""
        self.module.to(self.compute.device.value)
        self.shared = SharedGradient(self.module) if is_shared else None
        self.couplings = couplings_by_window(self.module, self.window_set)
        self.optimizer = make_optimizer(self.module, self.recipe)
        restore_optimizer(self.optimizer, self.optimizer_state)

    def run_epoch(self) -> None:
        """Train and validate for one epoch, update the plan, decide whether to stop, and save the checkpoint."""
        began_s = time.monotonic()
        epoch = self.state.epoch + 1
        seed_epoch(self.settings.seed, epoch)
        windows = training_windows(
            self.window_set, seed=self.settings.seed, epoch=epoch, windows_per_epoch=self.recipe.windows_per_epoch
        )
        train_loss, n_seen = self._take_steps(windows)
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
        stop_reason, stopped_because = self._stop(epoch, best_epoch, planned_epochs)
        update = {
            "planned_epochs": planned_epochs,
            "history": (*self.state.history, record),
            "best_epoch": best_epoch,
            "stopped_because": stopped_because,
            "stop_reason": stop_reason,
        }
        self.state = self.state.model_copy(update=update)
        tensors = optimizer_tensors(self.optimizer)
        save_checkpoint(self.folder, Checkpoint(self.state, weights, self.best_weights, tensors))

    def _take_steps(self, windows: Int64[np.ndarray, " window"]) -> tuple[float, int]:
        """Train until all windows are seen or the budget is spent; return mean loss and number of windows seen."""
        self.module.train()
        gradient = partial(backpropagate, self.module, self.recipe, self.window_set, self.compute, self.couplings)
        loss_sum, seen = 0.0, 0
        while seen < len(windows) and not (seen and self._is_out_of_time(seen)):
            batch = windows[seen : seen + self.recipe.batch_size]
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate(seen / len(windows))
            self.optimizer.zero_grad()
            loss = self.shared.lead(batch, gradient) if self.shared else gradient(batch)
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
        """Return the total number of epochs, if each further one takes as long as the last."""
        if self.repeat:
            return self.repeat[min(epoch, len(self.repeat) - 1)].planned_epochs
        return min(self.settings.max_epochs, epoch + max(0, int(self._remaining_s() / epoch_s)))

    def _stop(self, epoch: int, best_epoch: int, planned_epochs: int) -> tuple[StopReason, str] | tuple[None, None]:
        """Return code and sentence of the reason to stop after this epoch; two None to continue."""
        if self.repeat:
            is_repeated = epoch >= len(self.repeat)
            return (StopReason.EPOCHS_REPEATED, f"all {epoch} epochs are repeated") if is_repeated else (None, None)
        if epoch >= self.settings.max_epochs:
            return StopReason.EPOCHS_DONE, f"all {epoch} epochs are done"
        if epoch - best_epoch >= self.recipe.early_stopping_epochs:
            return StopReason.NO_IMPROVEMENT, f"the validation loss has not fallen since epoch {best_epoch}"
        if epoch >= planned_epochs:
            budget_s = self.settings.budget_s
            return StopReason.BUDGET_SPENT, f"the budget of {budget_s:g} s has no room for another epoch"
        return None, None

    def best_forecaster(self) -> Forecaster:
        """Return the forecaster on the CPU, with the best weights, predictive distribution and novelty detector."""
        self.module.cpu().load_state_dict(self.best_weights)
        return fit_novelty_detector(with_distribution(self.forecaster, self.window_set), self.window_set)
