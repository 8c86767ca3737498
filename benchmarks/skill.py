"""Forecast skill and connectivity on `organoid`, beside look-up and ceiling, with the spread over seeds.

    python benchmarks/skill.py [--recordings 50] [--budget-s 200] [--seeds 3]

Recordings are simulated and held out as in the pipeline. Each seed trains the coupled network for the budget; all are
scored on every window of the held-out recordings. The look-up stands on the same windows.
"""

import argparse
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from voltpipe.evaluation.evaluate import evaluate
from voltpipe.forecasting.baselines.fit import fit_baselines
from voltpipe.forecasting.coupling.estimate import estimate_coupling
from voltpipe.forecasting.coupling.recovery import recovery
from voltpipe.forecasting.progress import EpochRecord
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.forecasting.training import train
from voltpipe.lake import Lake
from voltpipe.recordings.condition_raw import condition_raw
from voltpipe.recordings.raw import find_raw
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store import conditioned_recordings
from voltpipe.simulation.ceiling import ceiling_in_samples
from voltpipe.simulation.network import draw_network
from voltpipe.simulation.raw_files import write_raw
from voltpipe.simulation.settings import Preparation, RawFormat, SimulationSettings
from voltpipe.windows.build import build_window_set
from voltpipe.windows.manifest import split_recordings
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.window_set import Split, WindowSet

TARGETS = {1: 0.781, 2: 0.605, 5: 0.274, 10: 0.103}
LAGS = 3


class Silent:
    """A listener that notes nothing."""

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Not said."""

    def epoch_finished(self, record: EpochRecord) -> None:
        """Not said."""


def record(lake: Lake, n_recordings: int) -> WindowSet:
    """Simulate, condition, split and window."""
    simulation = SimulationSettings(preparation=Preparation.ORGANOID, n_recordings=n_recordings)
    for path in write_raw(simulation, lake, "bench", RawFormat.NWB):
        print(f"  simulated {path.name}", end="\r")
    print()
    for key in find_raw(lake).found:
        condition_raw(lake, key, ConditioningSettings())
    recordings = conditioned_recordings(lake)
    manifest = split_recordings(recordings, WindowSettings())
    return build_window_set(lake.windows / "set", manifest, recordings)


def connectivity(window_set: WindowSet) -> None:
    """Print how much of the true connectivity the training rows show."""
    began_s = time.monotonic()
    shown = estimate_coupling(window_set, n_lags=LAGS)
    assert shown
    coupling = shown.estimator.coupling(*shown.networks[0].measured_mv(shown.estimator.delay_profile))
    truth = torch.from_numpy(draw_network(SimulationSettings().network_seed))
    figures = ", ".join(f"{name} {value:.4f}" for name, value in asdict(recovery(coupling, truth)).items())
    print(f"connectivity in {time.monotonic() - began_s:.1f} s: {figures}")


def skill(window_set: WindowSet, budget_s: float, n_seeds: int) -> None:
    """Print R2 on the held-out recordings by horizon."""
    look_up = fit_baselines(window_set)["look_up"]
    found: dict[str, list[list[float]]] = {"look_up": [], "coupled_cnn_lstm": []}
    for seed in range(n_seeds):
        settings = TrainingSettings(architecture=Architecture.COUPLED_CNN_LSTM, budget_s=budget_s, seed=seed)
        result = train(
            window_set, settings, checkpoint_folder=window_set.folder.parent / f"seed{seed}", progress=Silent()
        )
        evaluation, _ = evaluate(result.forecaster, window_set, {"look_up": look_up})
        for name, rows in found.items():
            rows.append([evaluation.score(name, Split.TEST, horizon).r2 for horizon in window_set.horizons])
        seen = sum(record.windows_per_s for record in result.history) / len(result.history)
        print(f"seed {seed}: {len(result.history)} epochs, {seen:.0f} windows/s, {result.stopped_because}")
    print(f"{'R2 at ... ms':18s}" + "".join(f"{horizon:>18d}" for horizon in window_set.horizons))
    for name, rows in found.items():
        cells = [f"{statistics.mean(r2):.4f} +- {statistics.pstdev(r2):.4f}" for r2 in zip(*rows, strict=True)]
        print(f"{name:18s}" + "".join(f"{cell:>18s}" for cell in cells))
    ceiling = ceiling_in_samples(Preparation.ORGANOID, window_set.rate_hz).r2
    for name, figures in (("ceiling", ceiling), ("target", TARGETS)):
        print(
            f"{name:18s}" + "".join(f"{figures.get(horizon, float('nan')):>18.4f}" for horizon in window_set.horizons)
        )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=50)
    parser.add_argument("--budget-s", type=float, default=200.0)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as the training does
    with TemporaryDirectory() as folder:
        window_set = record(Lake(Path(folder)), arguments.recordings)
        connectivity(window_set)
        skill(window_set, arguments.budget_s, arguments.seeds)


if __name__ == "__main__":
    main()
