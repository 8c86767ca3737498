"""Data-parallel training with torch.distributed: in each step, every process computes the gradient of its share.

Rank 0 is the training itself and keeps optimizer, budget, validation and checkpoints. For each step it broadcasts the
batch, a seed and the weights, and the gradients of all shares are summed on it. The other ranks keep nothing from step
to step, so a training ends, resumes and fails as it does in one process.

voltpipe starts the ranks on this machine; they meet through a file and talk over the loopback interface. To use several
hosts, let torchrun start a program that calls `train` with the same arguments on every rank.
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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch._C._distributed_c10d import FileStore
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from voltpipe.forecasting.compute import Compute, DeviceError, cpu_threads, flush_denormals, retain_allocator_memory
from voltpipe.forecasting.forecast_module import TrainableModule
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.recipe import Recipe
from voltpipe.forecasting.settings import Device
from voltpipe.forecasting.training.checkpoint import TrainingError
from voltpipe.forecasting.training.optimization import backpropagate, couplings_by_window
from voltpipe.windows.window_set import WindowSet

_LEAVE_S, _POLL_S = 10.0, 0.02

Backpropagate = Callable[[Int64[np.ndarray, " window"]], Tensor]
"""Adds the gradient of the mean loss over some windows to the module's, and returns that loss."""


class SharedGradient:
    """A module whose gradient all ranks compute together. The others take over the state that it has on rank 0."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._parameters = module, list(module.parameters())
        self._device = self._parameters[0].device
        for tensor in module.state_dict().values():
            _broadcast(tensor)

    def lead(self, windows: Int64[np.ndarray, " window"], backpropagate: Backpropagate) -> Tensor:
        """Set the gradient on rank 0 to that of the mean loss over the windows, and return that loss.

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
        """Tell the other ranks that the training has ended."""
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
        with _together():
            dist.reduce(summed, dst=0)
        return torch.split(summed, [1, *(parameter.numel() for parameter in self._parameters)])


@dataclass(frozen=True)
class Share:
    """All that another rank is told at its start; weights, tables and batches are broadcast to it."""

    architecture: str
    architecture_settings: dict[str, Any]
    recipe: Recipe
    window_set_folder: Path
    compute: Compute

    def work(self) -> None:
        """Compute a share of each step of the training on rank 0, until it dismisses this rank."""
        retain_allocator_memory()
        window_set = WindowSet(self.window_set_folder)
        forecaster = Forecaster.unfitted(self.architecture, window_set, self.architecture_settings)
        module = cast(TrainableModule, forecaster.module.to(self.compute.device.value).train())
        with torch.random.fork_rng(devices=[]), flush_denormals(), cpu_threads(self.recipe.cpu_threads):
            shared = SharedGradient(module)
            couplings = couplings_by_window(module, window_set)
            shared.follow(partial(backpropagate, module, self.recipe, window_set, self.compute, couplings))


@contextmanager
def process_group(share: Share, n_processes: int) -> Iterator[bool]:
    """Form the group of processes of a training on rank 0, and say whether there is more than this one.

    Args:
        share: what the other ranks work on. On CUDA each process has a GPU of its own.
        n_processes: how many there are in all, started here; torchrun decides that for the processes it starts.

    Raises:
        DeviceError: the device cannot be shared by so many processes.
        TrainingError: a process ended before it could join.
    """
    device = share.compute.device
    if dist.is_torchelastic_launched():
        with _joined(device, int(os.environ["LOCAL_RANK"])):
            yield True
        return
    if n_processes == 1:
        yield False
        return
    n_places = {Device.CPU: n_processes, Device.CUDA: torch.cuda.device_count()}.get(device, 1)
    if n_processes > n_places:
        raise DeviceError(
            f"found {n_places} {device.value} device(s) for {n_processes} processes; train in at most {n_places}, or "
            "on the CPU",
            code="processes-unavailable",
        )
    n_threads = share.recipe.cpu_threads or max(1, torch.get_num_threads() // n_processes)
    share = replace(share, recipe=replace(share.recipe, cpu_threads=n_threads))
    with TemporaryDirectory() as folder, cpu_threads(n_threads):
        meeting = str(Path(folder) / "meeting")
        arguments = [(share, rank, n_processes, meeting) for rank in range(1, n_processes)]
        others = [get_context("spawn").Process(target=_follow, args=each, daemon=True) for each in arguments]
        for process in others:
            process.start()
        try:
            store = FileStore(meeting, n_processes)
            while not store.check([f"rank {rank}" for rank in range(1, n_processes)]):
                with _together():
                    if not all(process.is_alive() for process in others):
                        raise RuntimeError("a process ended before it could join")
                time.sleep(_POLL_S)
            with _joined(device, 0, store=store, rank=0, world_size=n_processes):
                yield True
        finally:
            for process in others:
                process.join(_LEAVE_S)
                process.kill()


def share_by_torchrun(share: Share) -> bool:
    """Work on a share if torchrun started this process as another rank than 0; return whether it did."""
    if not dist.is_torchelastic_launched() or os.environ["RANK"] == "0":
        return False
    with _joined(share.compute.device, int(os.environ["LOCAL_RANK"])):
        share.work()
    return True


def _follow(share: Share, rank: int, n_processes: int, meeting: str) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    store = FileStore(meeting, n_processes)
    store.set(f"rank {rank}", "is ready")
    joined = _joined(share.compute.device, rank, store=store, rank=rank, world_size=n_processes)
    with suppress(TrainingError), joined:  # rank 0 reports it
        share.work()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)


@contextmanager
def _joined(device: Device, local_rank: int, **meeting: Any) -> Iterator[None]:
    if device is Device.CUDA:
        torch.cuda.set_device(local_rank)
    _stay_on_loopback()
    with _together():
        dist.init_process_group("nccl" if device is Device.CUDA else "gloo", **meeting)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _stay_on_loopback() -> None:
    """Keep connections on the loopback interface, unless another one or a remote host is named."""
    loopback = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    if loopback and os.environ.get("MASTER_ADDR", "localhost") in ("127.0.0.1", "localhost", "::1"):
        for backend in ("GLOO", "NCCL"):
            os.environ.setdefault(f"{backend}_SOCKET_IFNAME", loopback[0])


def _broadcast(tensor: Tensor) -> Tensor:
    with _together():
        dist.broadcast(tensor, src=0)
    return tensor


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # which torch.distributed raises when a peer has gone
        raise TrainingError(
            "a process that shared in the training has ended, killed or out of memory; train in fewer processes, or "
            "again: the last checkpoint is sound",
            code="training-process-ended",
        ) from error
