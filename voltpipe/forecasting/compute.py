"""Where to train, and with which precision."""

import ctypes
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from voltpipe.errors import VoltpipeError
from voltpipe.forecasting.settings import Device, Precision


class DeviceError(VoltpipeError):
    """A device or precision that was asked for and is not to be had."""


def available_devices() -> tuple[Device, ...]:
    """The devices of this machine."""
    present = {Device.CUDA: torch.cuda.is_available(), Device.MPS: torch.backends.mps.is_available(), Device.CPU: True}
    return tuple(device for device, is_present in present.items() if is_present)


def has_fast_bfloat16(device: Device) -> bool:
    """Whether this machine's `device` multiplies bfloat16 matrices faster than float32 ones."""
    if device is Device.CUDA:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device is Device.CPU:
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False


def choose_device(requested: Device, available: Collection[Device]) -> Device:
    """The device that was asked for, or the best there is.

    Raises:
        DeviceError: the device that was asked for is not there.
    """
    if requested is Device.AUTO:
        return next(device for device in Device if device in available)
    if requested not in available:
        there = ", ".join(sorted(available))
        raise DeviceError(
            f"device {requested.value!r} is not available here; choose one of: auto, {there}", code="device-unavailable"
        )
    return requested


def choose_precision(requested: Precision, device: Device, *, fast_bfloat16: bool) -> Precision:
    """The precision that was asked for, or bfloat16 where it is faster; MPS always computes in float32.

    Raises:
        DeviceError: bfloat16 was asked for on MPS.
    """
    if device is Device.MPS:
        if requested is Precision.BFLOAT16:
            raise DeviceError(
                "bfloat16 is not used on mps; choose the precision float32 or auto", code="precision-unavailable"
            )
        return Precision.FLOAT32
    if requested is Precision.AUTO:
        return Precision.BFLOAT16 if fast_bfloat16 else Precision.FLOAT32
    return requested


@dataclass(frozen=True)
class Compute:
    """Where and how precisely a training computes."""

    device: Device
    precision: Precision

    @classmethod
    def chosen(cls, device: Device, precision: Precision) -> "Compute":
        """What was asked for, or the best of this machine.

        Raises:
            DeviceError: what was asked for is not to be had.
        """
        found = choose_device(device, available_devices())
        return cls(found, choose_precision(precision, found, fast_bfloat16=has_fast_bfloat16(found)))

    def autocast(self) -> torch.autocast:
        """The context in which matrix products have this precision."""
        return torch.autocast(self.device.value, torch.bfloat16, enabled=self.precision is Precision.BFLOAT16)


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Compute on so many threads meanwhile, or on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Meanwhile flush numbers too small for full precision to zero: the CPU is slow with them."""
    _flush_denormals(True)
    try:
        yield
    finally:
        _flush_denormals(False)  # whoever called may count on them


def _flush_denormals(flush: bool) -> None:
    """Flush or keep them on this thread and on those that compute for it.

    A thread has this mode from the one that creates it. So OpenMP is told to let its threads go, and the next
    computation creates new ones.
    """
    torch.set_flush_denormal(flush)
    pause = None if sys.platform == "win32" else getattr(ctypes.CDLL(torch._C.__file__), "omp_pause_resource_all", None)
    if pause:  # absent before OpenMP 5
        omp_pause_hard = 2
        pause(omp_pause_hard)


def retain_allocator_memory() -> None:
    """Keep memory instead of returning it to the system.

    Torch allocates and frees the same large buffers in each step. glibc would give each back to the system, and a
    third of a float32 step would go into faulting the pages in again.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:  # absent where the C library is not glibc
            trim_threshold, mmap_max = -1, -4
            mallopt(trim_threshold, 2**31 - 1)
            mallopt(mmap_max, 0)


Item = TypeVar("Item")
Made = TypeVar("Made")


def run_in_threads(work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """What is made of each item, in their order; as many at a time as torch may use threads, each with one of its own.

    Torch's own threads would wait for each other many times as long as they compute, as the steps are small and many;
    two items at a time do not, since it lets go of Python's lock while it computes. Modes such as
    `torch.inference_mode` belong to a thread, so that `work` enters them itself.
    """
    n_at_a_time = torch.get_num_threads()

    with cpu_threads(1):
        if n_at_a_time == 1:
            yield from map(work, items)
            return
        pool = ThreadPoolExecutor(n_at_a_time, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)
