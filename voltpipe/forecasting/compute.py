"""Device, precision, threads and memory settings of a computation."""

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
    """A requested device or precision that is not available."""


def available_devices() -> tuple[Device, ...]:
    """List the devices of this machine, in order of preference."""
    present = {Device.CUDA: torch.cuda.is_available(), Device.MPS: torch.backends.mps.is_available(), Device.CPU: True}
    return tuple(device for device, is_present in present.items() if is_present)


def has_fast_bfloat16(device: Device) -> bool:
    """Return whether this machine's `device` multiplies bfloat16 matrices faster than float32 ones."""
    if device is Device.CUDA:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device is Device.CPU:
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False


def choose_device(requested: Device, available: Collection[Device]) -> Device:
    """Return the requested device; for AUTO, the best available one.

    Raises:
        DeviceError: the requested device is not available.
    """
    if requested is Device.AUTO:
        return next(device for device in Device if device in available)
    if requested not in available:
        choices = ", ".join(sorted(available))
        raise DeviceError(
            f"Device {requested.value!r} is not available on this machine. Choose one of: auto, {choices}.",
            code="device-unavailable",
        )
    return requested


def choose_precision(requested: Precision, device: Device, *, fast_bfloat16: bool) -> Precision:
    """Return the requested precision; for AUTO, bfloat16 if it is faster. MPS always computes in float32.

    Raises:
        DeviceError: bfloat16 was requested on MPS.
    """
    if device is Device.MPS:
        if requested is Precision.BFLOAT16:
            raise DeviceError(
                "Precision bfloat16 is not supported on mps. Choose float32 or auto.", code="precision-unavailable"
            )
        return Precision.FLOAT32
    if requested is Precision.AUTO:
        return Precision.BFLOAT16 if fast_bfloat16 else Precision.FLOAT32
    return requested


@dataclass(frozen=True)
class Compute:
    """Device and precision of a training."""

    device: Device
    precision: Precision

    @classmethod
    def choose(cls, device: Device, precision: Precision) -> "Compute":
        """Resolve the requested device and precision on this machine.

        Raises:
            DeviceError: the requested device or precision is not available.
        """
        device = choose_device(device, available_devices())
        return cls(device, choose_precision(precision, device, fast_bfloat16=has_fast_bfloat16(device)))

    def autocast(self) -> torch.autocast:
        """Return a context in which matrix products have this precision."""
        return torch.autocast(self.device.value, torch.bfloat16, enabled=self.precision is Precision.BFLOAT16)


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Let torch use this number of threads inside the context; None keeps the current number."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Flush denormal numbers to zero inside the context, since CPUs compute slowly with them."""
    _flush_denormals(True)
    try:
        yield
    finally:
        _flush_denormals(False)  # the caller may need them


def _flush_denormals(flush: bool) -> None:
    """Set the mode of this thread and of the threads that compute for it.

    A thread inherits the mode from the thread that creates it. OpenMP therefore has to release its threads, so that
    the next computation creates new ones.
    """
    torch.set_flush_denormal(flush)
    pause = None if sys.platform == "win32" else getattr(ctypes.CDLL(torch._C.__file__), "omp_pause_resource_all", None)
    if pause:  # absent before OpenMP 5
        omp_pause_hard = 2
        pause(omp_pause_hard)


def retain_allocator_memory() -> None:
    """Let the allocator of glibc keep freed memory instead of returning it to the system.

    Torch allocates and frees the same large buffers in each step. By default, glibc returns each of them to the
    system, and page faults then take a third of a float32 step.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:  # absent in other C libraries
            trim_threshold, mmap_max = -1, -4
            mallopt(trim_threshold, 2**31 - 1)
            mallopt(mmap_max, 0)


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run_in_threads(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Yield the result of `work` for each item, in order, with one item on each thread that torch may use.

    With many small steps, torch's own threads wait for each other many times longer than they compute. Separate items
    do not, since torch releases Python's lock while it computes. Modes such as `torch.inference_mode` belong to a
    thread, so `work` has to enter them itself.
    """
    n_threads = torch.get_num_threads()
    with cpu_threads(1):
        if n_threads == 1:
            yield from map(work, items)
            return
        pool = ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)
