"""Training speed of the published architecture, compared with the same module in plain eager float32.

    python benchmarks/training_speed.py [--batch-sizes 32 128] [--rounds 5] [--threads 2] [--profile] [--folder FOLDER]

Both train the same module (2,188,168 parameters, 150 samples of 100 channels) with the same recipe, windows, noise,
loss and number of threads. They take turns, so that other load on the machine affects both. Each variant has its own
process, since the memory settings of the allocator cannot be undone. The plain loop is what one would write first.
Further variants each omit one optimization of voltpipe's training. For each variant the windows per second are printed,
and median and range of the ratio to the plain loop in the same turn. The first line gives the largest speedup that
bfloat16 can reach on this processor: the ratio of speeds in the matrix product of an LSTM layer at one time step, which
dominates the arithmetic.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.forecasting.compute import Compute, flush_denormals, retain_allocator_memory
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module_registry import ARCHITECTURES
from voltpipe.forecasting.optimizer_recipe import Recipe
from voltpipe.forecasting.settings import Architecture, Device, Precision, TrainingSettings
from voltpipe.forecasting.training.epoch import backpropagate, make_optimizer, take_step
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

Trainer = Callable[[np.ndarray], None]

BATCHES_PER_TURN = 2
PLAIN = "plain"
BFLOAT16, FUSED_ADAM, FLUSHING, MEMORY = "bfloat16", "fused Adam", "flushed denormals", "retained memory"
_HIDDEN = 384
_MATRIX_PRODUCT_S = 0.5
_PRECISIONS = torch.float32, torch.bfloat16
_BFLOAT16_INSTRUCTIONS = "amx_bf16", "avx512_bf16"
OPTIMIZATIONS = (BFLOAT16, FUSED_ADAM, FLUSHING, MEMORY)


def plain_trainer(module: torch.nn.Module, recipe: Recipe, window_set: WindowSet) -> Trainer:
    """Return a plain training loop."""
    optimizer = _plain_adam(module, recipe)
    starts, recordings = window_set.index["start_row"], window_set.index["recording"]
    context, n_samples = window_set.context, window_set.settings.window_samples

    def train(windows: np.ndarray) -> None:
        for first in range(0, len(windows), recipe.batch_size):
            batch = windows[first : first + recipe.batch_size]
            true_z = torch.stack([window_set.samples_z[row : row + n_samples] for row in starts[batch]])
            mean_mv, sd_mv = window_set.calibration_mv(recordings[batch])
            seen_z = true_z + torch.randn_like(true_z) * (recipe.noise_mv / sd_mv[:, None])
            forecast_z = module(seen_z[:, :context], mean_mv, sd_mv)
            loss = torch.nn.functional.mse_loss(forecast_z[:, 0], true_z[:, context])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.clip_norm)
            optimizer.step()

    return train


def _plain_adam(module: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        module.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        decoupled_weight_decay=recipe.decoupled_weight_decay,
    )


def make_trainer(variant: str, window_set: WindowSet, batch_size: int) -> Trainer:
    """Return the plain loop, or voltpipe's without the optimization that the variant names, if any."""
    torch.manual_seed(0)
    module = Forecaster.unfitted("cnn_lstm", window_set).module.train()
    recipe = TrainingSettings(batch_size=batch_size).adjust(ARCHITECTURES[Architecture.CNN_LSTM].recipe)
    if variant == PLAIN:
        return plain_trainer(module, recipe, window_set)
    if variant != MEMORY:
        retain_allocator_memory()
    precision = Precision.FLOAT32 if variant == BFLOAT16 else Precision.AUTO
    compute = Compute.choose(Device.CPU, precision)
    optimizer = _plain_adam(module, recipe) if variant == FUSED_ADAM else make_optimizer(module, recipe)

    def train(windows: np.ndarray) -> None:
        with nullcontext() if variant == FLUSHING else flush_denormals():
            for first in range(0, len(windows), recipe.batch_size):
                batch = windows[first : first + recipe.batch_size]
                optimizer.zero_grad()
                take_step(module, optimizer, recipe, backpropagate(module, recipe, window_set, compute, None, batch))

    return train


def serve(variant: str, folder: Path, batch_size: int, threads: int, connection: Connection) -> None:
    """Train for a turn at each request, and answer with windows per second."""
    torch.set_num_threads(threads)
    window_set = reference_window_set(Preparation.ORGANOID, folder)
    windows = np.random.default_rng(0).permutation(window_set.windows(Split.TRAIN))[: BATCHES_PER_TURN * batch_size]
    train = make_trainer(variant, window_set, batch_size)
    train(windows[:batch_size])
    connection.send(0.0)
    while connection.recv():
        began_s = time.perf_counter()
        train(windows)
        connection.send(len(windows) / (time.perf_counter() - began_s))


def gigaflops(precision: torch.dtype, batch_size: int) -> float:
    """Measure the matrix product of one LSTM layer at one time step, in 1e9 operations per second."""
    states, weights = torch.randn(batch_size, _HIDDEN).to(precision), torch.randn(4 * _HIDDEN, _HIDDEN).to(precision)
    product = torch.nn.functional.linear
    product(states, weights)
    began_s, n_products = time.perf_counter(), 0
    while (spent_s := time.perf_counter() - began_s) < _MATRIX_PRODUCT_S:
        product(states, weights)
        n_products += 1
    return n_products * 2 * weights.numel() * batch_size / spent_s / 1e9


def print_limit(batch_size: int, rounds: int, threads: int) -> None:
    """Print the speedup of matrix products in bfloat16 on this processor, both precisions in turns."""
    torch.set_num_threads(threads)
    turns = [[gigaflops(precision, batch_size) for precision in _PRECISIONS] for _ in range(rounds)]
    float32, bfloat16 = (statistics.median(speeds) for speeds in zip(*turns, strict=True))
    ratio = statistics.median(fast / slow for slow, fast in turns)
    instructions = [name for name in _BFLOAT16_INSTRUCTIONS if torch.cpu.get_capabilities().get(name)]
    print(
        f"\nmatrix product of {batch_size} states, {threads} threads: float32 {float32:.0f}, bfloat16 {bfloat16:.0f} "
        f"GFLOP/s, {ratio:.2f} x; the processor has {', '.join(instructions) or 'no bfloat16 instructions'}",
        flush=True,
    )


def compare(folder: Path, batch_size: int, rounds: int, threads: int) -> None:
    """Train with all variants in turns, and print their speeds and ratios."""
    processes = get_context("spawn")
    variants = {PLAIN: PLAIN, "voltpipe": "voltpipe"} | {f"without {one}": one for one in OPTIMIZATIONS}
    connections: dict[str, Connection] = {}
    for name, variant in variants.items():
        connections[name], far_end = processes.Pipe()
        processes.Process(target=serve, args=(variant, folder, batch_size, threads, far_end), daemon=True).start()
        connections[name].recv()
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, connection in connections.items():
            connection.send(True)
            speeds[name].append(connection.recv())
    for connection in connections.values():
        connection.send(False)
    print(f"\nbatches of {batch_size}, {threads} threads")
    for name, own_speeds in speeds.items():
        ratios = [own / other for own, other in zip(own_speeds, speeds[PLAIN], strict=True)]
        print(
            f"  {name:26s} {statistics.median(own_speeds):7.1f} windows/s, {statistics.median(ratios):5.2f} x plain "
            f"({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def profile(folder: Path, batch_size: int, threads: int) -> None:
    """Print a profile of voltpipe's training step."""
    torch.set_num_threads(threads)
    window_set = reference_window_set(Preparation.ORGANOID, folder)
    train = make_trainer("voltpipe", window_set, batch_size)
    windows = window_set.windows(Split.TRAIN)[: BATCHES_PER_TURN * batch_size]
    train(windows[:batch_size])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        train(windows)
    print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))


def main() -> None:
    """Print the speeds, or a profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    arguments = parser.parse_args()
    reference_window_set(Preparation.ORGANOID, arguments.folder)  # prepared before the processes read it
    for batch_size in arguments.batch_sizes:
        if arguments.profile:
            profile(arguments.folder, batch_size, arguments.threads)
        else:
            print_limit(batch_size, arguments.rounds, arguments.threads)
            compare(arguments.folder, batch_size, arguments.rounds, arguments.threads)


if __name__ == "__main__":
    main()
