"""R2 of the published architectures (with `--families`, of all) under one protocol, with the published R2.

    python benchmarks/ladder.py [--families] [--budget-s 300] [--protocol both] [--preparation brunel] [--recordings 50]

Each model is trained for the budget by its own recipe, then scored on every test window. Persistence and the lookup
table are scored on the same targets. The published trainings had up to 129 epochs of all training windows. Epochs here
are shorter, so that recipes that count epochs (warm-up, plateaus) complete. A pass is one use of all training windows.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.evaluation.accumulators import ErrorSums
from voltpipe.evaluation.batching import predict_mv
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module_registry import ARCHITECTURES
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.forecasting.training.train import train
from voltpipe.forecasting.training.training_result import TrainingResult
from voltpipe.progress import EpochRecord
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.settings import Protocol, WindowSettings
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

PUBLISHED_R2 = {"lstm": 0.511, "lstm_large": 0.526, "lstm_residual": 0.615, "cnn_lstm": 0.755}
PUBLISHED_PASSES = 129
LADDER = tuple(map(Architecture, PUBLISHED_R2))
FAMILIES = tuple(architecture for architecture in Architecture if architecture not in LADDER)
BASELINES = "persistence", "look_up"
HORIZONS = 1, 2, 5, 10
SCORED_AT_ONCE = 32
CURVE_POINTS = 12


class Line:
    """Training progress on one line."""

    def __init__(self, name: str) -> None:
        self.name = name

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Print nothing."""

    def epoch_finished(self, record: EpochRecord) -> None:
        """Print the epoch and the remaining time."""
        line = f"  {self.name}: epoch {record.epoch}, {record.remaining_s:.0f} s left"
        print(line.ljust(60), end="\r", flush=True, file=sys.stderr)


def fit_baseline(name: str, window_set: WindowSet) -> Forecaster:
    """Fit a baseline."""
    forecaster = Forecaster.unfitted(name, window_set)
    forecaster.module.fit(window_set)
    return forecaster


def train_for(
    architecture: Architecture, window_set: WindowSet, budget_s: float, windows_per_epoch: int
) -> TrainingResult:
    """Train a model for the budget, in epochs of `windows_per_epoch` windows."""
    settings = TrainingSettings(architecture=architecture, budget_s=budget_s, windows_per_epoch=windows_per_epoch)
    with TemporaryDirectory() as folder:
        return train(window_set, settings, checkpoint_folder=Path(folder), progress=Line(architecture))


def r2_cells(forecaster: Forecaster, window_set: WindowSet) -> str:
    """Format R2 in mV on all test windows, one cell for each horizon."""
    columns = [window_set.horizons.index(horizon) for horizon in forecaster.horizons]
    sums = ErrorSums(len(columns), window_set.train_mean_mv())
    windows = window_set.windows(Split.TEST)
    numbers = window_set.index["recording"][windows]
    for number in np.unique(numbers):
        used = forecaster.for_recording(window_set.recordings[number].organoid, window_set.channel_names)
        of_recording = windows[numbers == number]
        for first in range(0, len(of_recording), SCORED_AT_ONCE):
            batch = window_set.batch(of_recording[first : first + SCORED_AT_ONCE])
            sums.add(predict_mv(used, batch), batch.target_mv()[:, columns])
    r2 = dict(zip(forecaster.horizons, sums.r2(), strict=True))
    return "".join(f"{r2[horizon]:9.4f}" if horizon in r2 else " " * 9 for horizon in HORIZONS)


def curve(history: Sequence[EpochRecord]) -> str:
    """Format validation R2 at the shortest horizon, by epoch."""
    step = -(-len(history) // CURVE_POINTS)
    return ", ".join(f"{r.epoch}: {r.validation_r2[HORIZONS[0]]:.3f}" for r in history[::-1][::step][::-1])


def print_ladder(
    window_set: WindowSet, architectures: Sequence[Architecture], budget_s: float, windows_per_epoch: int
) -> None:
    """Train and score each architecture, and print its row."""
    n_windows = len(window_set.windows(Split.TRAIN))
    print(
        f"\n{window_set.manifest.preparation}, protocol {window_set.settings.protocol}: {budget_s:g} s per training, "
        f"{n_windows} training windows\n"
        f"{'R2 at ... ms':18s}{'published':>10s}"
        + "".join(f"{horizon:>9d}" for horizon in HORIZONS)
        + f"{'weights':>11s}{'epochs of':>11s}{'windows':>9s}{'passes':>8s}{'windows/s':>11s}"
    )
    for name in BASELINES:
        print(f"{name:28s}{r2_cells(fit_baseline(name, window_set), window_set)}")
    curves = []
    for architecture in architectures:
        epoch_windows = min(windows_per_epoch, n_windows, ARCHITECTURES[architecture].recipe.windows_per_epoch)
        result = train_for(architecture, window_set, budget_s, epoch_windows)
        epochs = len(result.history)
        passes = epochs * epoch_windows / n_windows
        windows_per_s = sum(record.windows_per_s for record in result.history) / epochs
        print(
            f"{architecture:18s}{PUBLISHED_R2.get(architecture, ''):>10}{r2_cells(result.forecaster, window_set)}"
            f"{result.n_parameters:>11,d}{epochs:>11d}{epoch_windows:>9d}{passes:>8.1f}{windows_per_s:>11.0f}",
            flush=True,
        )
        if passes < PUBLISHED_PASSES:
            curves.append(f"  {architecture:18s}{curve(result.history)}")
    if curves:
        print(
            f"Validation R2 at 1 ms by epoch, for trainings of fewer than {PUBLISHED_PASSES} passes:", *curves, sep="\n"
        )


def main() -> None:
    """Print a table for each protocol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--families", action="store_true", help="Also train the architectures outside the published ladder."
    )
    parser.add_argument("--only", nargs="+", type=Architecture, metavar="NAME", help="Architectures to train instead.")
    parser.add_argument("--budget-s", type=float, default=300.0)
    parser.add_argument(
        "--windows-per-epoch",
        type=int,
        default=2000,
        help="Largest number of windows in an epoch. Recipes with fewer keep theirs.",
    )
    parser.add_argument("--protocol", choices=["both", *Protocol], default="both")
    parser.add_argument("--preparation", type=Preparation, choices=list(Preparation), default=Preparation.BRUNEL)
    parser.add_argument("--recordings", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER, help="Folder of the simulated recordings.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    architectures = arguments.only or (*LADDER, *(FAMILIES if arguments.families else ()))
    for protocol in Protocol if arguments.protocol == "both" else [Protocol(arguments.protocol)]:
        window_set = reference_window_set(
            arguments.preparation,
            arguments.folder,
            n_recordings=arguments.recordings,
            settings=WindowSettings(protocol=protocol),
        )
        print_ladder(window_set, architectures, arguments.budget_s, arguments.windows_per_epoch)


if __name__ == "__main__":
    main()
