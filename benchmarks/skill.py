"""Forecast skill on both reference preparations over several seeds, with lookup table and ceiling.

    python benchmarks/skill.py [--budget-s 200] [--seeds 3] [--folder FOLDER] [--preparation organoid]

Each seed trains the architecture on recordings 0 to 34 for the budget, and scores it on every window of recordings 43
to 49. On `organoid` the network is known. On `brunel` each recording has its own network: it is forecast without
knowledge of it (zero-shot), and after 7.2 s with the connectivity estimated from them (adapted). The lookup table is
scored on the same windows.
"""

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module_registry import ARCHITECTURES
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.forecasting.training.train import train
from voltpipe.progress import NO_TRAINING_PROGRESS
from voltpipe.simulation.ceiling import ceiling_by_horizon
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.window_set import WindowSet

TARGETS = {
    (Preparation.ORGANOID, Regime.TEST): {1: 0.781, 2: 0.605, 5: 0.274, 10: 0.103},
    (Preparation.BRUNEL, Regime.ADAPTED): {1: 0.779, 2: 0.600, 5: 0.269, 10: 0.102},
    (Preparation.BRUNEL, Regime.ZERO_SHOT): {1: 0.771, 2: 0.582, 5: 0.244, 10: 0.081},
}


def skill(preparation: Preparation, window_set: WindowSet, architecture: str, budget_s: float, n_seeds: int) -> None:
    """Print R2 on the held-out recordings by horizon, one table for each regime."""
    lookup_table = Forecaster.unfitted("look_up", window_set)
    lookup_table.module.fit(window_set)
    found: dict[Regime, dict[str, list[list[float]]]] = {}
    for seed in range(n_seeds):
        settings = TrainingSettings(architecture=Architecture(architecture), budget_s=budget_s, seed=seed)
        with TemporaryDirectory() as folder:
            result = train(window_set, settings, checkpoint_folder=Path(folder), progress=NO_TRAINING_PROGRESS)
        windows_per_s = sum(record.windows_per_s for record in result.history) / len(result.history)
        print(f"{preparation} seed {seed}: {len(result.history)} epochs, {windows_per_s:.0f} windows/s", flush=True)
        evaluation, _ = score_forecaster(result.forecaster, window_set, {"look_up": lookup_table})
        for regime in evaluation.regimes:
            for name in (architecture, "look_up"):
                rows = found.setdefault(regime, {}).setdefault(name, [])
                rows.append([evaluation.score(name, regime, horizon).r2 for horizon in window_set.horizons])
    ceiling = ceiling_by_horizon(preparation, window_set.rate_hz).r2
    for regime, forecasters in found.items():
        print(f"\nR2 on {preparation}, {regime}")
        print(f"{'ms':18s}" + "".join(f"{horizon:>18d}" for horizon in window_set.horizons))
        for name, scores in forecasters.items():
            cells = [f"{statistics.mean(r2):.4f} +- {statistics.pstdev(r2):.4f}" for r2 in zip(*scores, strict=True)]
            print(f"{name:18s}" + "".join(f"{cell:>18s}" for cell in cells))
        for name, r2_by_horizon in (("ceiling", ceiling), ("target", TARGETS.get((preparation, regime), {}))):
            cells = [
                f"{r2_by_horizon[horizon]:.4f}" if horizon in r2_by_horizon else "" for horizon in window_set.horizons
            ]
            print(f"{name:18s}" + "".join(f"{cell:>18s}" for cell in cells))
    print()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-s", type=float, default=200.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    parser.add_argument("--recordings", type=int, default=50)
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default=Architecture.COUPLED_CNN_LSTM.value)
    parser.add_argument("--preparation", choices=[preparation.value for preparation in Preparation])
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as in training
    for preparation in Preparation if arguments.preparation is None else [Preparation(arguments.preparation)]:
        window_set = reference_window_set(preparation, arguments.folder, n_recordings=arguments.recordings)
        skill(preparation, window_set, arguments.architecture, arguments.budget_s, arguments.seeds)


if __name__ == "__main__":
    main()
