"""Data-parallel training with torch.distributed: every process computes the gradient of its share of each batch.

Rank 0 runs the training: optimizer, budget, validation and checkpoints. For each step it broadcasts the batch, a seed
and the weights, and receives the sum of all gradients. The other ranks keep no state between steps, so stopping,
resuming and failing work as in a single process.

voltpipe starts the ranks on this machine. They find each other through a file and communicate over the loopback
interface. To use several hosts, let torchrun start a program that calls `train` with the same arguments on every rank.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from voltpipe.forecasting.compute import Compute, DeviceError, cpu_threads, flush_denormals, retain_allocator_memory
from voltpipe.forecasting.forecast_module import TrainableModule
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.optimizer_recipe import Recipe
from voltpipe.forecasting.settings import Device
from voltpipe.forecasting.training.checkpoint import TrainingError
from voltpipe.forecasting.training.epoch import backpropagate, couplings_by_window
from voltpipe.windows.window_set import WindowSet

_LEAVE_S, _POLL_S = 10.0, 0.02

Backpropagate = Callable[[Int64[np.ndarray, " window"]], Tensor]
"""Accumulates the gradient of the mean loss over a batch of windows in the parameters, and returns the loss."""


class SharedGradient:
    """The gradient of a module, computed by all ranks. They start from the module's state on rank 0."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._parameters = module, list(module.parameters())
        self._device = self._parameters[0].device
        for tensor in module.state_dict().values():
            _broadcast(tensor)

    def lead(self, windows: Int64[np.ndarray, " window"], backpropagate: Backpropagate) -> Tensor:
        """Set the gradient on rank 0 to that of the mean loss over the windows, and return the loss.

        Raises:
            TrainingError: another process has ended.
        """
        _broadcast(torch.tensor([len(windows), int(torch.randint(2**62, ()))], device=self._device))
        _broadcast(torch.from_numpy(windows).to(self._device))
        loss, *gradients = self._summed(windows, backpropagate)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            if parameter.grad is not None:
                parameter.grad = gradient.view_as(parameter)
        return loss[0]

    def dismiss(self) -> None:
        """Tell the other ranks that training has ended."""
        _broadcast(torch.zeros(2, dtype=torch.int64, device=self._device))

    def follow(self, backpropagate: Backpropagate) -> None:
        """Compute this rank's share of each step until rank 0 dismisses it.

        Raises:
            TrainingError: another process has ended.
        """
        while True:
            n_windows, seed = _broadcast(torch.empty(2, dtype=torch.int64, device=self._device)).tolist()
            if not n_windows:
                return
            windows = _broadcast(torch.empty(n_windows, dtype=torch.int64, device=self._device))
            torch.manual_seed(seed + dist.get_rank())
            self._module.zero_grad()
            self._summed(windows.cpu().numpy(), backpropagate)

    def _summed(
        self, windows: Int64[np.ndarray, " window"], backpropagate: Backpropagate
    ) -> tuple[Float[Tensor, " value"], ...]:
        """Sum loss and gradient of all shares on rank 0."""
        weights = _broadcast(parameters_to_vector(self._parameters).detach())
        if dist.get_rank():
            vector_to_parameters(weights, self._parameters)
        own = np.array_split(windows, dist.get_world_size())[dist.get_rank()]
        loss = backpropagate(own) if len(own) else torch.zeros((), device=self._device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        summed = torch.cat([part.flatten() for part in (loss, *gradients)]) * (len(own) / len(windows))
        with _report_ended_peers():
            dist.reduce(summed, dst=0)
        return torch.split(summed, [1, *(parameter.numel() for parameter in self._parameters)])


@dataclass(frozen=True)
class Share:
    """Everything that another rank needs to start. Weights, buffers and batches are broadcast to it."""

    architecture: str
    architecture_settings: dict[str, Any]
    recipe: Recipe
    window_set_folder: Path
    compute: Compute

    def work(self, local_rank: int, **rendezvous: Any) -> None:
        """Join the process group, and compute a share of each step until rank 0 dismisses this rank."""
        retain_allocator_memory()
        group = _joined(self.compute.device, local_rank, **rendezvous)
        with group, torch.random.fork_rng(devices=[]), flush_denormals(), cpu_threads(self.recipe.cpu_threads):
            window_set = WindowSet(self.window_set_folder)
            forecaster = Forecaster.unfitted(self.architecture, window_set, self.architecture_settings)
            module = cast(TrainableModule, forecaster.module.to(self.compute.device.value).train())
            shared, couplings = SharedGradient(module), couplings_by_window(module, window_set)
            shared.follow(partial(backpropagate, module, self.recipe, window_set, self.compute, couplings))


@contextmanager
def process_group(share: Share, n_processes: int) -> Iterator[bool]:
    """Form the process group of a training on rank 0. Yield whether the training is shared with other processes.

    Args:
        share: work of the other ranks. On CUDA each process has its own GPU.
        n_processes: total number of processes, which are started here. Ignored under torchrun, which starts its own.

    Raises:
        DeviceError: there are fewer devices than processes.
        TrainingError: a process ended before it joined.
    """
    device = share.compute.device
    if dist.is_torchelastic_launched():
        with _joined(device, int(os.environ["LOCAL_RANK"])):
            yield True
        return
    if n_processes == 1:
        yield False
        return
    n_devices = {Device.CPU: n_processes, Device.CUDA: torch.cuda.device_count()}.get(device, 1)
    if n_processes > n_devices:
        raise DeviceError(
            f"Found {n_devices} {device.value} device(s) for {n_processes} processes. Train in at most {n_devices} "
            "process(es), or on the CPU.",
            code="processes-unavailable",
        )
    n_threads = share.recipe.cpu_threads or max(1, torch.get_num_threads() // n_processes)
    share = replace(share, recipe=replace(share.recipe, cpu_threads=n_threads))
    with TemporaryDirectory() as folder, cpu_threads(n_threads):
        ranks = range(1, n_processes)
        others = [
            get_context("spawn").Process(target=_follow, args=(share, rank, n_processes, folder), daemon=True)
            for rank in ranks
        ]
        for process in others:
            process.start()
        try:
            while not all(Path(folder, f"ready-{rank}").exists() for rank in ranks):
                with _report_ended_peers():
                    if not all(process.is_alive() for process in others):
                        raise RuntimeError("a process ended before it joined")
                time.sleep(_POLL_S)
            with _joined(device, 0, init_method=f"file://{folder}/group", rank=0, world_size=n_processes):
                yield True
        finally:
            for process in others:
                process.join(_LEAVE_S)
                process.kill()


def share_by_torchrun(share: Share) -> bool:
    """Compute a share of each step if torchrun started this process with a rank above 0; return whether it did."""
    if not dist.is_torchelastic_launched() or os.environ["RANK"] == "0":
        return False
    share.work(int(os.environ["LOCAL_RANK"]))
    return True


def _follow(share: Share, rank: int, n_processes: int, folder: str) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    Path(folder, f"ready-{rank}").touch()
    with suppress(TrainingError):  # rank 0 reports it
        share.work(rank, init_method=f"file://{folder}/group", rank=rank, world_size=n_processes)


def _end_with_parent() -> None:
    cast(BaseProcess, parent_process()).join()
    os._exit(1)


@contextmanager
def _joined(device: Device, local_rank: int, **rendezvous: Any) -> Iterator[None]:
    if device is Device.CUDA:
        torch.cuda.set_device(local_rank)
    _stay_on_loopback()
    with _report_ended_peers():
        dist.init_process_group("nccl" if device is Device.CUDA else "gloo", **rendezvous)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _stay_on_loopback() -> None:
    """Use the loopback interface, unless the environment names another interface or a remote host."""
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    if loopback and os.environ.get("MASTER_ADDR", "localhost") in ("127.0.0.1", "localhost", "::1"):
        for backend in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{backend}_SOCKET_IFNAME", loopback[0])


def _broadcast(tensor: Tensor) -> Tensor:
    with _report_ended_peers():
        dist.broadcast(tensor, src=0)
    return tensor


@contextmanager
def _report_ended_peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # raised by torch.distributed when a peer has ended
        raise TrainingError(
            "A process of the training was killed or ran out of memory. The last checkpoint is intact. "
            "Train again, in fewer processes if memory is short.",
            code="training-process-ended",
        ) from error
