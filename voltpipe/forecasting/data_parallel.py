"""Shares each step of a training among processes on the CPU: every one computes the gradient of its part of the batch.

The weights lie in memory that all processes share, and one of them, the training itself, moves them. The others know
nothing of optimizer, budget and checkpoints, so a training ends, resumes and fails as it does in one process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.multiprocessing import get_context

from voltpipe.forecasting.device import Compute, DeviceError, cpu_threads, denormals_flushed, keep_memory
from voltpipe.forecasting.epoch import TrainingError, backpropagate
from voltpipe.forecasting.module import TrainedModule
from voltpipe.forecasting.recipe import Recipe
from voltpipe.forecasting.settings import Device
from voltpipe.windows.window_set import WindowSet

_LEAVE_S = 10.0


@dataclass(frozen=True)
class _Task:
    """All that a helping process is told at its start. Tensors in it share their memory with the training's."""

    module: TrainedModule
    gradient: Tensor
    recipe: Recipe
    window_set_folder: Path
    compute: Compute
    n_threads: int


@dataclass(frozen=True)
class _Helper:
    """One process, the way to it, and where its gradient lies."""

    process: BaseProcess
    pipe: Connection
    gradient: Tensor


class HelperProcesses:
    """The processes that help, and where their gradients arrive."""

    def __init__(self, module: TrainedModule, helpers: list[_Helper]) -> None:
        self._parameters = list(module.parameters())
        self._helpers = helpers

    def backpropagate(
        self, windows: Int64[np.ndarray, " window"], own_share: Callable[[Int64[np.ndarray, " share"]], Tensor]
    ) -> Tensor:
        """Set the module's gradient to that of the mean loss over windows, and return that loss.

        Raises:
            TrainingError: a process is gone.
        """
        own, *others = np.array_split(windows, 1 + len(self._helpers))
        asked = [(helper, share) for helper, share in zip(self._helpers, others, strict=True) if len(share)]
        try:
            for helper, share in asked:
                helper.pipe.send((share, int(torch.randint(2**62, ()))))
            loss = own_share(own) * (len(own) / len(windows))
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad *= len(own) / len(windows)
            for helper, share in asked:
                weight = len(share) / len(windows)
                loss = loss + helper.pipe.recv() * weight
                parts = torch.split(helper.gradient, [parameter.numel() for parameter in self._parameters])
                for parameter, part in zip(self._parameters, parts, strict=True):
                    if parameter.grad is not None:
                        parameter.grad += part.view_as(parameter) * weight
        except (EOFError, OSError) as error:
            raise TrainingError(
                "a process that shared in the training has ended, killed or out of memory; train in fewer processes, "
                "or again: the last checkpoint is sound",
                code="training-process-ended",
            ) from error
        return loss


@contextmanager
def helper_processes(
    module: TrainedModule, recipe: Recipe, window_set: WindowSet, compute: Compute, n_processes: int
) -> Iterator[HelperProcesses | None]:
    """Start what helps a training of `n_processes` in all, and end it afterwards. None where it works alone.

    Raises:
        DeviceError: the training is not on the CPU.
    """
    if n_processes == 1:
        yield None
        return
    if compute.device is not Device.CPU:
        raise DeviceError(
            f"several processes train on the CPU alone, not on {compute.device}; train in one process",
            code="processes-unavailable",
        )
    module.share_memory()
    n_parameters = sum(parameter.numel() for parameter in module.parameters())
    n_threads = recipe.cpu_threads or max(1, torch.get_num_threads() // n_processes)
    context = get_context("spawn")
    helpers = []
    for _ in range(n_processes - 1):
        own_end, other_end = context.Pipe()
        gradient = torch.zeros(n_parameters)
        gradient.share_memory_()  # type: ignore[no-untyped-call]
        task = _Task(module, gradient, recipe, window_set.folder, compute, n_threads)
        process = context.Process(target=_help, args=(task, other_end), daemon=True)
        process.start()
        other_end.close()
        helpers.append(_Helper(process, own_end, gradient))
    try:
        with cpu_threads(n_threads):
            yield HelperProcesses(module, helpers)
    finally:
        for helper in helpers:
            helper.pipe.close()
        for helper in helpers:
            helper.process.join(_LEAVE_S)
            helper.process.kill()


def _help(task: _Task, pipe: Connection) -> None:
    """Compute gradients until the training has ended, however it did."""
    window_set = WindowSet(task.window_set_folder)
    module = task.module
    for part in module.modules():
        # Statistics of batches are the training's own; only the weights are common.
        part._buffers = {name: None if buffer is None else buffer.clone() for name, buffer in part._buffers.items()}
    module.prepare(window_set)
    module.train()
    keep_memory()
    with denormals_flushed(), cpu_threads(task.n_threads):
        while True:
            try:
                windows, seed = pipe.recv()
            except EOFError:
                return
            torch.manual_seed(seed)
            module.zero_grad()
            loss = backpropagate(module, task.recipe, window_set, task.compute, windows)
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]
            task.gradient.copy_(torch.cat([gradient.flatten() for gradient in gradients]))
            pipe.send(float(loss))
