"""Choice of device and precision, numbers of threads, denormals and parallel work, on any machine."""

from threading import Barrier, get_ident

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from voltpipe.forecasting.compute import (
    Compute,
    DeviceError,
    available_devices,
    choose_device,
    choose_precision,
    cpu_threads,
    flush_denormals,
    run_in_threads,
)
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module_registry import ARCHITECTURES
from voltpipe.forecasting.settings import Device, Precision
from voltpipe.forecasting.training.epoch import (
    backpropagate,
    couplings_by_window,
    make_optimizer,
    take_step,
)
from voltpipe.windows.splits import Split

CUDA, MPS, CPU = Device.CUDA, Device.MPS, Device.CPU


@pytest.mark.parametrize(
    ("requested", "available", "chosen"),
    [
        (Device.AUTO, (CPU,), CPU),
        (Device.AUTO, (MPS, CPU), MPS),
        (Device.AUTO, (CUDA, CPU), CUDA),
        (CPU, (CUDA, CPU), CPU),
        (MPS, (MPS, CPU), MPS),
    ],
)
def test_auto_selects_the_best_available_device(requested, available, chosen):
    assert choose_device(requested, available) is chosen


def test_an_unavailable_device_is_refused_with_a_list_of_the_others():
    with pytest.raises(
        DeviceError, match=r"cuda.*auto, cpu, mps", check=lambda error: error.code == "device-unavailable"
    ):
        choose_device(CUDA, (MPS, CPU))


@pytest.mark.parametrize(
    ("requested", "device", "fast_bfloat16", "chosen"),
    [
        (Precision.AUTO, CPU, True, Precision.BFLOAT16),
        (Precision.AUTO, CPU, False, Precision.FLOAT32),
        (Precision.AUTO, CUDA, True, Precision.BFLOAT16),
        (Precision.AUTO, MPS, True, Precision.FLOAT32),
        (Precision.FLOAT32, CUDA, True, Precision.FLOAT32),
        (Precision.BFLOAT16, CPU, False, Precision.BFLOAT16),
    ],
)
def test_auto_selects_bfloat16_if_it_is_faster_but_never_on_mps(requested, device, fast_bfloat16, chosen):
    assert choose_precision(requested, device, fast_bfloat16=fast_bfloat16) is chosen


def test_bfloat16_on_mps_is_refused():
    with pytest.raises(DeviceError, match="mps", check=lambda error: error.code == "precision-unavailable"):
        choose_precision(Precision.BFLOAT16, MPS, fast_bfloat16=False)


def test_the_cpu_is_always_available():
    assert CPU in available_devices()


class NoFloat64(TorchDispatchMode):
    """Mode that fails if a float64 tensor is created, as MPS has none."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        outputs = result if isinstance(result, tuple | list) else (result,)
        assert not any(isinstance(x, torch.Tensor) and x.dtype is torch.float64 for x in outputs), func
        return result


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_training_step_uses_float64(name, ar1_windows):
    forecaster = Forecaster.unfitted(name, ar1_windows)
    forecaster.module.fit(ar1_windows)
    module, recipe = forecaster.module, forecaster.module.recipe
    optimizer, couplings = make_optimizer(module, recipe), couplings_by_window(module, ar1_windows)
    compute, windows = Compute(CPU, Precision.FLOAT32), ar1_windows.windows(Split.TRAIN)[:4]
    with NoFloat64():
        loss = backpropagate(module, recipe, ar1_windows, compute, couplings, windows)
        assert take_step(module, optimizer, recipe, loss) > 0


def test_the_number_of_threads_is_set_and_then_restored():
    before = torch.get_num_threads()
    with cpu_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with cpu_threads(None):
        assert torch.get_num_threads() == before


def test_every_thread_flushes_denormals_only_inside_the_context():
    def share_of_denormals() -> float:
        products = torch.full((1_000_000,), 1e-30) * 1e-10  # enough for two threads to share
        with cpu_threads(1):
            return np.count_nonzero(products.numpy().view(np.uint32)) / len(products)

    with cpu_threads(2):
        before = share_of_denormals()
        with flush_denormals():
            inside = share_of_denormals()
        assert (before, inside, share_of_denormals()) == (1, 0, 1)


def test_items_run_in_parallel_on_separate_threads_and_keep_their_order():
    both_started = Barrier(2, timeout=60)

    def work(item):
        both_started.wait()
        return item, get_ident(), torch.get_num_threads()

    with cpu_threads(2):
        items, threads, torch_threads = zip(*run_in_threads(work, range(4)), strict=True)
        assert torch.get_num_threads() == 2
    assert items == (0, 1, 2, 3)
    assert len(set(threads)) == 2
    assert get_ident() not in threads
    assert set(torch_threads) == {1}


def test_items_run_in_this_thread_if_torch_has_one():
    with cpu_threads(1):
        assert set(run_in_threads(lambda _: get_ident(), range(3))) == {get_ident()}


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_cancels_the_remaining_items(n_threads):
    started = []

    def work(item):
        started.append(item)
        raise ValueError(item)

    with cpu_threads(n_threads), pytest.raises(ValueError, match="0"):
        list(run_in_threads(work, range(1000)))
    assert len(started) < 1000
