"""R2 of forecasters on networks with other parameters than the training network.

    python benchmarks/unseen_networks.py [--flagship FOLDER] [--budget-s 120] [--folder FOLDER]

Two forecasters are trained on recordings 0 to 34 of `organoid`: the coupled CNN-LSTM, which knows the connectivity of
that network, and the shared CNN-LSTM, which forecasts each channel alone. Lookup table and autoregression are included.
The network is then simulated with the same connections (with new ones if its size changes), but stronger or weaker
synapses, more or less external input, or more or less inhibition. Level 0 is the training network. R2 is relative to
the mean of the forecast samples, so a change of mean activity alone earns nothing. `unlike` is the share of windows
that are out of distribution for the coupled CNN-LSTM. Writes `unseen_networks.parquet`, in the format of the report's
`robustness.parquet`, and `unseen_networks.png` to FOLDER.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from ceilings.stepper import NetworkState
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.evaluation.accumulators import ErrorSums
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.forecasting.training.fitting import fit_baselines, fit_novelty_detector
from voltpipe.forecasting.training.train import train
from voltpipe.progress import NO_TRAINING_PROGRESS
from voltpipe.reporting.figures.diagnostics_figures import draw_robustness
from voltpipe.reporting.figures.figure_style import render
from voltpipe.simulation.network import BRUNEL_NETWORK, BrunelNetwork, draw_network
from voltpipe.simulation.settings import Preparation, SimulationSettings
from voltpipe.windows.window_set import WindowSet

COPIES, SECONDS, SETTLING_S = 8, 1.5, 0.2
STRIDE_SAMPLES = 45
SEED = 1


def synapses(factor: float) -> BrunelNetwork:
    """Scale all synapses."""
    return replace(
        BRUNEL_NETWORK,
        excitatory_mv=factor * BRUNEL_NETWORK.excitatory_mv,
        inhibitory_mv=factor * BRUNEL_NETWORK.inhibitory_mv,
    )


def inhibition(factor: float) -> BrunelNetwork:
    """Scale inhibitory synapses."""
    return replace(BRUNEL_NETWORK, inhibitory_mv=factor * BRUNEL_NETWORK.inhibitory_mv)


def drive(factor: float) -> BrunelNetwork:
    """Scale the rate of the external input."""
    return replace(BRUNEL_NETWORK, external_rate_hz=factor * BRUNEL_NETWORK.external_rate_hz)


def size(factor: float) -> BrunelNetwork:
    """Scale the number of neurons, and with it the number of inputs of each neuron."""
    return replace(
        BRUNEL_NETWORK,
        n_excitatory=round(factor * BRUNEL_NETWORK.n_excitatory),
        n_inhibitory=round(factor * BRUNEL_NETWORK.n_inhibitory),
    )


@dataclass(frozen=True)
class Change:
    """A change of one parameter of the network, at several levels."""

    name: str
    sign: int
    levels_percent: tuple[float, ...]
    scale: Callable[[float], BrunelNetwork]

    @property
    def unit(self) -> str:
        """Return the unit of the levels."""
        return "% more" if self.sign > 0 else "% less"

    def at(self, level_percent: float) -> BrunelNetwork:
        """Return the network at a level."""
        return self.scale(1 + self.sign * level_percent / 100)


CHANGES = (
    Change("stronger synapses", 1, (0.0, 25.0, 50.0, 100.0, 200.0), synapses),
    Change("weaker synapses", -1, (0.0, 25.0, 50.0, 75.0, 100.0), synapses),
    Change("more input", 1, (0.0, 10.0, 25.0, 50.0, 100.0), drive),
    Change("less input", -1, (0.0, 5.0, 10.0, 20.0, 30.0), drive),
    Change("more inhibition", 1, (0.0, 25.0, 50.0, 100.0, 200.0), inhibition),
    Change("less inhibition", -1, (0.0, 25.0, 50.0, 75.0, 100.0), inhibition),
    Change("larger network", 1, (0.0, 50.0, 100.0, 200.0), size),
    Change("smaller network", -1, (0.0, 25.0, 50.0, 75.0), size),
)


def record_mv(network: BrunelNetwork) -> np.ndarray:
    """Simulate several copies of the network; return voltages (copy, time, channel)."""
    rng = np.random.default_rng(SEED)
    state = NetworkState.start(draw_network(SimulationSettings().network_seed, network)[None], COPIES, rng)
    state.external_rate_hz = network.external_rate_hz
    state.advance(round(SETTLING_S * network.rate_hz), rng)
    samples_mv = []
    for _ in range(round(SECONDS * network.rate_hz)):
        state.advance(1, rng)
        samples_mv.append(state.voltage_mv[0])
    return np.stack(samples_mv, axis=1)


def windows_mv(samples_mv: np.ndarray, window_set: WindowSet) -> tuple[np.ndarray, np.ndarray]:
    """Cut histories, and targets at the window set's horizons."""
    length = window_set.settings.window_samples
    starts = range(0, samples_mv.shape[1] - length + 1, STRIDE_SAMPLES)
    windows = np.concatenate([samples_mv[:, start : start + length] for start in starts])
    targets = [window_set.context - 1 + horizon for horizon in window_set.horizons]
    return np.ascontiguousarray(windows[:, : window_set.context]), windows[:, targets]


def adapt_forecaster(forecaster: Forecaster, network: BrunelNetwork, window_set: WindowSet) -> Forecaster:
    """Return the forecaster for the training network, or for an unknown one if the size differs."""
    if network.n_neurons == window_set.n_channels:
        return forecaster.for_recording(forecaster.config.organoids[0], window_set.channel_names)
    return forecaster.for_recording("another", tuple(f"n{number}" for number in range(network.n_neurons)))


def rows(
    forecasters: dict[str, Forecaster], window_set: WindowSet, change: Change, level: float
) -> Iterator[tuple[object, ...]]:
    """Yield R2 by forecaster and horizon at one level, with the share of windows out of distribution."""
    network = change.at(level)
    history_mv, truth_mv = windows_mv(record_mv(network), window_set)
    truth = torch.from_numpy(truth_mv)
    flagship = next(iter(forecasters.values()))
    assert flagship.familiarity
    unlike = float((flagship.familiarity.judge(torch.from_numpy(history_mv)).score > 1).float().mean())
    for name, forecaster in forecasters.items():
        sums = ErrorSums(len(window_set.horizons), truth.mean((0, 1)))
        try:
            sums.add(torch.from_numpy(adapt_forecaster(forecaster, network, window_set).predict_mv(history_mv)), truth)
        except ForecasterError as error:
            print(f"  {name} skipped: {error}")
            continue
        for horizon, r2 in zip(window_set.horizons, sums.r2(), strict=True):
            yield change.name, change.unit, level, name, horizon, sums.n_targets, r2, unlike


def train_forecaster(architecture: Architecture, window_set: WindowSet, budget_s: float) -> Forecaster:
    """Train an architecture for the budget, by its recipe."""
    settings = TrainingSettings(architecture=architecture, budget_s=budget_s)
    with TemporaryDirectory() as folder:
        return train(window_set, settings, checkpoint_folder=Path(folder), progress=NO_TRAINING_PROGRESS).forecaster


def main() -> None:
    """Print R2 for each change and level, and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flagship", type=Path, help="Folder of a trained coupled CNN-LSTM. Trained if not given.")
    parser.add_argument("--budget-s", type=float, default=120.0)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    window_set = reference_window_set(Preparation.ORGANOID, arguments.folder)
    flagship = (
        fit_novelty_detector(Forecaster.load(arguments.flagship), window_set)
        if arguments.flagship
        else train_forecaster(Architecture.COUPLED_CNN_LSTM, window_set, arguments.budget_s)
    )
    shared = train_forecaster(Architecture.SHARED_CNN_LSTM, window_set, arguments.budget_s)
    baselines = fit_baselines(window_set)
    forecasters = {one.config.architecture: one for one in (flagship, shared)}
    forecasters |= {name: baselines[name] for name in ("look_up", "autoregression")}
    columns = ["corruption", "unit", "level", "forecaster", "horizon", "n_targets", "r2", "unlike"]
    found = []
    for change in CHANGES:
        for level in change.levels_percent:
            at_level = pd.DataFrame(rows(forecasters, window_set, change, level), columns=columns)
            found.append(at_level)
            nearest = at_level[at_level["horizon"] == window_set.horizons[0]]
            r2 = "  ".join(f"{row.forecaster} {row.r2:.3f}" for row in nearest.itertuples())
            print(f"{change.name} {level:g} {change.unit}: {r2}  unlike {nearest['unlike'].iloc[0]:.0%}", flush=True)
    table = pd.concat(found)
    table.to_parquet(arguments.folder / "unseen_networks.parquet", index=False)
    horizon = window_set.horizons[0]
    figure = render(
        "unseen_networks",
        lambda: draw_robustness(table[table["horizon"] == horizon], flagship.config.architecture, horizon),
        title="Networks with other parameters",
        subtitle=f"R² {horizon} ms ahead",
        caption="",
        basis="",
    )
    (arguments.folder / "unseen_networks.png").write_bytes(figure.png)


if __name__ == "__main__":
    main()
