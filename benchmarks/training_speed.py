"""How fast the published module trains here, against the same module in plain eager float32.

    python benchmarks/training_speed.py [--batch-sizes 32 128] [--rounds 5] [--profile] [--folder FOLDER]

Both train the same module (2,188,168 parameters, 150 samples of 100 channels) on the same windows with the same number
of threads, in turns, so that whatever else the machine does strikes both. The plain loop is what one would write first:
windows copied from an array, Adam, no autocast. Printed: windows a second, the ratio of each turn, and their median;
then what each measure of voltpipe's training is worth, by leaving it out.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.forecasting.architectures.registry import ARCHITECTURES
from voltpipe.forecasting.device import Compute, denormals_flushed, keep_memory
from voltpipe.forecasting.epoch import Descent
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.settings import Architecture, Device, Precision, TrainingSettings
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.window_set import Split, WindowSet

Trainer = Callable[[np.ndarray], None]


def module_of(window_set: WindowSet) -> torch.nn.Module:
    """The published module with the same initial weights each time."""
    torch.manual_seed(0)
    return Forecaster.unfitted("cnn_lstm", window_set).module.train()


def plain(window_set: WindowSet, batch_size: int) -> Trainer:
    """Trains on windows as a first version would."""
    module = module_of(window_set)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3, weight_decay=1e-4)
    starts = window_set.index["start_row"]

    def train(windows: np.ndarray) -> None:
        for first in range(0, len(windows), batch_size):
            rows = starts[windows[first : first + batch_size]]
            samples = torch.stack([window_set.samples_z[row : row + window_set.context + 1] for row in rows])
            history = samples[:, :-1] + 0.02 * torch.randn_like(samples[:, :-1])
            one = torch.ones(len(rows), window_set.n_channels)
            loss = torch.nn.functional.mse_loss(module(history, 0 * one, one)[:, 0], samples[:, -1])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()

    return train


def voltpipe(window_set: WindowSet, batch_size: int, precision: Precision = Precision.AUTO) -> Trainer:
    """Trains on windows as `voltpipe train` does."""
    module = module_of(window_set)
    recipe = TrainingSettings(batch_size=batch_size).adjusted(ARCHITECTURES[Architecture.CNN_LSTM].recipe)
    descent = Descent(module, recipe, window_set, Compute.chosen(Device.CPU, precision))

    def train(windows: np.ndarray) -> None:
        descent.run(windows, learning_rate=lambda _: 3e-3, out_of_time=lambda: False)

    return train


def windows_per_s(train: Trainer, windows: np.ndarray, around: AbstractContextManager[None]) -> float:
    """How many windows a second are trained on."""
    with around:
        began_s = time.perf_counter()
        train(windows)
        return len(windows) / (time.perf_counter() - began_s)


def compare(window_set: WindowSet, batch_size: int, rounds: int) -> None:
    """Print the ratio of both ways, and of voltpipe's without each of its measures."""
    windows = np.random.default_rng(0).permutation(window_set.windows(Split.TRAIN))[: 4 * batch_size]
    ways: dict[str, tuple[Trainer, Callable[[], AbstractContextManager[None]]]] = {
        "plain": (plain(window_set, batch_size), nullcontext),
        "voltpipe": (voltpipe(window_set, batch_size), denormals_flushed),
        "without bfloat16": (voltpipe(window_set, batch_size, Precision.FLOAT32), denormals_flushed),
        "with denormals": (voltpipe(window_set, batch_size), nullcontext),
    }
    for train, around in ways.values():
        windows_per_s(train, windows[:batch_size], around())
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (train, around) in ways.items():
            speeds[name].append(windows_per_s(train, windows, around()))
    print(f"\nbatches of {batch_size}, {torch.get_num_threads()} threads")
    for name, of_way in speeds.items():
        ratios = [own / other for own, other in zip(of_way, speeds["plain"], strict=True)]
        print(
            f"  {name:18s} {statistics.median(of_way):7.1f} windows/s, {statistics.median(ratios):5.2f} x plain "
            f"({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def profile(window_set: WindowSet, batch_size: int) -> None:
    """Print where voltpipe's training step spends its time."""
    train = voltpipe(window_set, batch_size)
    windows = window_set.windows(Split.TRAIN)[: 4 * batch_size]
    with denormals_flushed():
        train(windows[:batch_size])
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            train(windows)
    print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    arguments = parser.parse_args()
    window_set = reference_window_set(Preparation.ORGANOID, arguments.folder)
    if arguments.profile:
        profile(window_set, arguments.batch_sizes[0])
    for batch_size in arguments.batch_sizes:
        compare(window_set, batch_size, arguments.rounds)
    keep_memory()  # cannot be undone, so it is left for last
    print("\nwith memory kept instead of given back to the system, as voltpipe trains:")
    for batch_size in arguments.batch_sizes:
        compare(window_set, batch_size, arguments.rounds)


if __name__ == "__main__":
    main()
