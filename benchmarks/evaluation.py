"""Duration and peak memory of a full evaluation on 50 recordings of 10 s and 100 channels.

    python benchmarks/evaluation.py [--forecaster FOLDER] [--folder FOLDER] [--threads 2]

The recordings are those of the reference preparation `organoid`. The forecaster is a coupled CNN-LSTM, trained briefly
unless one is given. A separate process then fits the baselines, scores all forecasters on the held-out windows of both
regimes, runs diagnostics and interpretation, and writes the report, as the assets do.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.evaluation.diagnostics.diagnostics import diagnose
from voltpipe.evaluation.interpretation.interpretation import interpret
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.fitting import fit_baselines
from voltpipe.forecasting.training.train import train
from voltpipe.progress import NO_TRAINING_PROGRESS
from voltpipe.reporting.report import write_report
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.window_set import WindowSet

LIMIT_S, LIMIT_GB = 180.0, 2.0
TRAINING_S = 20.0

Found = TypeVar("Found")


def measure(window_set_folder: Path, forecaster_folder: Path, report_folder: Path, n_threads: int) -> None:
    """Print the duration of each part, and total duration and peak memory with their limits."""
    torch.set_num_threads(n_threads)
    began = time.perf_counter()
    window_set, forecaster = WindowSet(window_set_folder), Forecaster.load(forecaster_folder)
    baselines = timed("baselines", lambda: fit_baselines(window_set))
    evaluation, errors = timed(
        "scores", lambda: score_forecaster(forecaster, window_set, baselines, progress=print_progress)
    )
    diagnostics = timed("diagnostics", lambda: diagnose(forecaster, baselines, window_set, print_progress))
    interpretation = timed("interpretation", lambda: interpret(forecaster, window_set))
    detail = timed("figure data", errors.detail)
    timed(
        "report",
        lambda: write_report(
            report_folder, evaluation, detail, interpretation.connectivity, diagnostics, interpretation
        ),
    )
    print(f"{'all':14s} {time.perf_counter() - began:6.1f} s, limit {LIMIT_S:.0f} s on two idle cores")
    print(f"{'peak memory':14s} {peak_gb():6.2f} GB, limit {LIMIT_GB:.0f} GB")


def timed(what: str, work: Callable[[], Found]) -> Found:
    """Run `work`, and print its duration."""
    began, began_core = time.perf_counter(), time.process_time()
    found = work()
    seconds, core_s = time.perf_counter() - began, time.process_time() - began_core
    print(f"\r{what:14s} {seconds:6.1f} s ({core_s:.1f} s of CPU time)".ljust(60), flush=True)
    return found


def print_progress(doing: str, done: int, total: int) -> None:
    """Print the progress on one line."""
    print(f"\r{doing}: {done} of {total}".ljust(60), end="", file=sys.stderr, flush=True)


def peak_gb() -> float:
    """Return the peak resident memory of this process, including memory-mapped samples."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (peak if sys.platform == "darwin" else peak * 1024) / 1e9


def main() -> None:
    """Prepare what is missing, then measure in a new process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecaster", type=Path, help="Folder of a saved forecaster. Trained if not given.")
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER, help="Folder of the simulated recordings.")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    window_set = reference_window_set(Preparation.ORGANOID, arguments.folder)
    print(f"{len(window_set.recordings)} recordings, {window_set.n_channels} channels, {window_set.rate_hz:g} Hz")
    with TemporaryDirectory() as scratch:
        folder = arguments.forecaster or Path(scratch) / "forecaster"
        if arguments.forecaster is None:
            checkpoints = Path(scratch) / "checkpoints"
            settings = TrainingSettings(budget_s=TRAINING_S)
            result = train(window_set, settings, checkpoint_folder=checkpoints, progress=NO_TRAINING_PROGRESS)
            result.forecaster.save(folder)
        with get_context("spawn").Pool(1) as pool:
            pool.apply(measure, (window_set.folder, folder, Path(scratch) / "report", arguments.threads))


if __name__ == "__main__":
    main()
