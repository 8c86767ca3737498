"""Skill and speed of voltpipe, neuralforecast, darts and POCO on the same recordings, with equal training time.

The peers are not dependencies of voltpipe. Install them in a separate environment:

    python3.11 -m venv .venv-peers && .venv-peers/bin/pip install -c benchmarks/peers-constraints.txt torch==2.13.0
    .venv-peers/bin/pip install -c benchmarks/peers-constraints.txt -e . neuralforecast darts einops

    .venv-peers/bin/python benchmarks/peers.py [--budget-s 180] [--seeds 1] [--threads 1] [--poco PATH] [--peers ...]

PATH is a checkout of github.com/yuvenduan/POCO (published results used 7efdb00). Libraries that are not installed are
skipped. All models are scored by voltpipe's definitions on every held-out window of the reference preparations.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from jaxtyping import Float
from peer_libraries import PEERS, Peer, Sizes, available_peers
from reference import REFERENCE_FOLDER, reference_window_set
from torch import Tensor

from voltpipe.evaluation.accumulators import ErrorSums
from voltpipe.evaluation.batching import predict_mv, windows_per_batch
from voltpipe.evaluation.held_out_windows import forecaster_for_regime, regime_windows
from voltpipe.evaluation.regimes import Regime
from voltpipe.forecasting.compute import cpu_threads, flush_denormals, retain_allocator_memory
from voltpipe.forecasting.forecast_module import Dimensions, ForecastModule, NoSettings
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.forecasting.training.train import train
from voltpipe.progress import NO_TRAINING_PROGRESS
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.window_set import WindowSet

FLAGSHIP = Architecture.COUPLED_CNN_LSTM
OWN = FLAGSHIP, Architecture.SHARED_CNN_LSTM
HORIZONS = 1, 2, 5, 10, 20
COMPARED = 1, 5, 10
NOTES = """
How to read it
- Peers: the library's module with default sizes, optimizer, learning rate and batch size, in a plain loop. Changes in
  their favor: mean squared error (neuralforecast's default is absolute), cosine decay of the learning rate to zero over
  the budget, windows that start at any training sample, retained memory and flushed denormals as in voltpipe, 1,024
  series per step for darts' univariate models (default 32), no validation or checkpoint in the budget. No search.
- voltpipe: its recipe, as in `voltpipe train`. Estimating connectivity, validation and checkpoints count toward the
  budget. Its matrix products are bfloat16 if the CPU supports it; those of the peers are float32, the default.
- windows/s: windows of 150 samples of 100 channels per second of training. For univariate models, which see one channel
  at a time, series per second divided by 100. voltpipe learns from nearly every sample of a window, a peer from one
  forecast (darts-lstm: from every sample, one ahead). A peer therefore learns less from each window.
- neuralforecast-lstm is the library's default: each step is decoded from the state `20 - step` samples before the
  last, so all its forecasts are 20 ms forecasts. The other two LSTMs are rolled out on their own forecasts, so they are
  good at 1 ms only. TSMixer and iTransformer of neuralforecast subtract each window's mean, which hides the distance to
  the threshold.
- Multivariate peers identify a channel by its position. In `brunel` that gives its type but not its connections. The
  same holds for POCO: its recordings are one session of 100 units. Adapting its embeddings to a new session, which is
  POCO's protocol, is not run.
- zero_shot: networks outside the training, all windows. adapted: the same recordings after 7.2 s, which the coupled
  CNN-LSTM has used to estimate connectivity. The others are scored on these windows for comparison.
"""


class PeerModule(ForecastModule):
    """A peer with voltpipe's interface.

    Args:
        peer: a model trained on `(voltage_mv - centre_mv) / scale_mv`.
        dimensions: dimensions of the forecaster.
        centre_mv: mean of the training samples, in mV.
        scale_mv: SD of the training samples, in mV.
    """

    def __init__(self, peer: Peer, dimensions: Dimensions, centre_mv: float, scale_mv: float) -> None:
        super().__init__(NoSettings(), dimensions)
        self.peer, self.centre_mv, self.scale_mv = peer, centre_mv, scale_mv

    def forward(
        self,
        history_z: Float[Tensor, "batch context channel"],
        mean_mv: Float[Tensor, "batch channel"],
        sd_mv: Float[Tensor, "batch channel"],
    ) -> Float[Tensor, "batch horizon channel"]:
        """Forecast in z-units."""
        mean_mv, sd_mv = mean_mv[:, None], sd_mv[:, None]
        history = (history_z * sd_mv + mean_mv - self.centre_mv) / self.scale_mv
        n_windows, n_samples, n_channels = history.shape
        if self.peer.univariate:
            history = history.transpose(1, 2).reshape(-1, n_samples, 1)
        forecast = self.peer.forecast(history, self.dimensions.horizons_samples[-1])
        if self.peer.univariate:
            forecast = forecast.reshape(n_windows, n_channels, -1).transpose(1, 2)
        forecast = forecast[:, [horizon - 1 for horizon in self.dimensions.horizons_samples]]
        return (forecast * self.scale_mv + self.centre_mv - mean_mv) / sd_mv


class TrainingSamples:
    """All training samples, standardized by their common mean and SD, and the possible starts of windows."""

    def __init__(self, window_set: WindowSet) -> None:
        self.window_samples = window_set.settings.window_samples
        by_segment, starts, n_rows = [], [], 0
        for recording, start_row, stop_row in window_set.train_rows():
            mean_mv, sd_mv = window_set.calibration_mv(recording)
            by_segment.append(window_set.samples_z[start_row:stop_row] * sd_mv + mean_mv)
            starts.append(torch.arange(n_rows, n_rows + stop_row - start_row - self.window_samples + 1))
            n_rows += stop_row - start_row
        samples_mv = torch.cat(by_segment)
        self.centre_mv, self.scale_mv = samples_mv.mean().item(), samples_mv.std().item()
        self._samples = (samples_mv - self.centre_mv) / self.scale_mv
        self._starts = torch.cat(starts)

    def draw(self, n_windows: int, *, univariate: bool, generator: torch.Generator) -> Tensor:
        """Draw random windows, (window, time, series)."""
        rows = self._starts[torch.randint(len(self._starts), (n_windows,), generator=generator)]
        rows = rows[:, None] + torch.arange(self.window_samples)
        if not univariate:
            return self._samples[rows]
        channels = torch.randint(self._samples.shape[1], (n_windows, 1), generator=generator)
        return self._samples[rows, channels][..., None]


@dataclass(frozen=True)
class Trained:
    """A trained forecaster and its speed of training."""

    forecaster: Forecaster
    n_weights: int
    windows_per_s: float
    spent_s: float


def train_peer(
    name: str,
    build: Callable[[Sizes], Peer],
    window_set: WindowSet,
    samples: TrainingSamples,
    budget_s: float,
    seed: int,
) -> Trained:
    """Train a peer for the budget, and keep its last weights."""
    peer = build(Sizes(window_set.context, window_set.horizons[-1], window_set.n_channels, seed))
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    peer.train()
    steps, began_s = 0, time.monotonic()
    peak_rates = [group["lr"] for group in peer.optimizer.param_groups]
    while (spent_s := time.monotonic() - began_s) < budget_s:
        for group, peak_rate in zip(peer.optimizer.param_groups, peak_rates, strict=True):
            group["lr"] = peak_rate * (1 + math.cos(math.pi * spent_s / budget_s)) / 2
        window = samples.draw(peer.series_per_step, univariate=peer.univariate, generator=generator)
        peer.optimizer.zero_grad()
        peer.loss(window, window_set.context).backward()
        if peer.clip_norm:
            torch.nn.utils.clip_grad_norm_(peer.parameters(), peer.clip_norm)
        peer.optimizer.step()
        steps += 1
    windows = steps * peer.series_per_step / (window_set.n_channels if peer.univariate else 1)
    unfitted = Forecaster.unfitted("persistence", window_set)
    module = PeerModule(peer, unfitted.config.dimensions, samples.centre_mv, samples.scale_mv)
    config = unfitted.config.model_copy(update={"architecture": name})
    n_weights = sum(weight.numel() for weight in peer.parameters() if weight.requires_grad)
    return Trained(replace(unfitted, module=module, config=config), n_weights, windows / spent_s, spent_s)


def train_own(architecture: Architecture, window_set: WindowSet, budget_s: float, seed: int) -> Trained:
    """Train one of voltpipe's architectures for the budget."""
    settings = TrainingSettings(architecture=architecture, budget_s=budget_s, seed=seed, device="cpu")
    with TemporaryDirectory() as folder:
        result = train(window_set, settings, checkpoint_folder=Path(folder), progress=NO_TRAINING_PROGRESS)
    windows_per_s = statistics.mean(record.windows_per_s for record in result.history)
    return Trained(result.forecaster, result.n_parameters, windows_per_s, result.elapsed_s)


def score(forecaster: Forecaster, window_set: WindowSet, regime: Regime, windows: np.ndarray) -> list[float]:
    """Return R2 in mV at `HORIZONS`, computed as in voltpipe's evaluation."""
    sums = ErrorSums(len(forecaster.horizons), window_set.train_mean_mv())
    for_recording = forecaster_for_regime(forecaster, window_set, regime)
    recordings = window_set.index["recording"][windows]
    size = windows_per_batch(window_set)
    for of_recording in np.split(windows, np.flatnonzero(np.diff(recordings)) + 1):
        adapted = for_recording(int(window_set.index["recording"][of_recording[0]]))
        for first in range(0, len(of_recording), size):
            batch = window_set.batch(of_recording[first : first + size])
            sums.add(predict_mv(adapted, batch), batch.target_mv())
    r2 = dict(zip(forecaster.horizons, sums.r2(), strict=True))
    return [float(r2[horizon]) for horizon in HORIZONS]


@dataclass(frozen=True)
class Row:
    """Results of one model over all seeds."""

    r2: dict[Regime, list[list[float]]]
    n_weights: int
    windows_per_s: float
    spent_s: float

    def lines(self, name: str) -> str:
        """Format a table row for each regime."""
        return "\n".join(
            f"{name:31s}{regime:>10s}"
            + "".join(f"{_mean_and_spread(values):>14s}" for values in zip(*by_seed, strict=True))
            + f"{self.n_weights:>11,d}{self.windows_per_s:>12,.1f}{self.spent_s:>7.0f}"
            for regime, by_seed in self.r2.items()
        )

    def mean_r2(self, regime: Regime) -> dict[int, float]:
        """Return the mean over seeds, by horizon."""
        return dict(zip(HORIZONS, map(statistics.mean, zip(*self.r2[regime], strict=True)), strict=True))


def _mean_and_spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean}±{statistics.pstdev(values):.4f}"


def measure(train_one: Callable[[int], Trained], window_set: WindowSet, n_seeds: int) -> Row:
    """Train and score a model with each seed."""
    r2: dict[Regime, list[list[float]]] = {}
    rates, times_s = [], []
    for seed in range(n_seeds):
        trained = train_one(seed)
        rates.append(trained.windows_per_s)
        times_s.append(trained.spent_s)
        for regime, windows in _held_out(window_set).items():
            r2.setdefault(regime, []).append(score(trained.forecaster, window_set, regime, windows))
    return Row(r2, trained.n_weights, statistics.mean(rates), statistics.mean(times_s))


def _held_out(window_set: WindowSet) -> dict[Regime, np.ndarray]:
    """Return the windows of the held-out recordings by regime; the same for all models."""
    windows = regime_windows(SimpleNamespace(adapts=True), window_set)
    return {regime: positions for regime, positions in windows.items() if regime is not Regime.TIME}


def print_table(
    window_set: WindowSet, peers: Mapping[str, Callable[[Sizes], Peer]], budget_s: float, n_seeds: int
) -> None:
    """Train and score each model, print its rows, and list the peers ahead of the flagship."""
    print(
        f"\n{window_set.manifest.preparation}: {budget_s:g} s per training, {n_seeds} seed(s), "
        f"{torch.get_num_threads()} thread(s), "
        + ", ".join(f"{len(windows)} {regime} windows" for regime, windows in _held_out(window_set).items())
        + f"\n{'R2 at ... ms':31s}{'':10s}"
        + "".join(f"{horizon:>14d}" for horizon in HORIZONS)
        + f"{'weights':>11s}{'windows/s':>12s}{'s':>7s}"
    )
    samples = TrainingSamples(window_set)
    trainings: dict[str, Callable[[int], Trained]] = {
        name: lambda seed, name=name: train_own(name, window_set, budget_s, seed) for name in OWN
    }
    trainings |= {
        name: lambda seed, name=name, build=build: train_peer(name, build, window_set, samples, budget_s, seed)
        for name, build in peers.items()
    }
    rows = {}
    for name, train_one in trainings.items():
        print(f"  {name}".ljust(60), end="\r", flush=True, file=sys.stderr)
        with flush_denormals():
            rows[name] = measure(train_one, window_set, n_seeds)
        print(rows[name].lines(name), flush=True)
    print_verdict(rows[FLAGSHIP], {name: rows[name] for name in peers})


def print_verdict(own: Row, peers: Mapping[str, Row]) -> None:
    """List the peers that are ahead of the flagship, by regime and horizon and in speed."""
    for regime in own.r2:
        for horizon in COMPARED:
            ahead = [
                name for name, row in peers.items() if row.mean_r2(regime)[horizon] >= own.mean_r2(regime)[horizon]
            ]
            print(f"ahead of {FLAGSHIP} in R2 at {horizon} ms ({regime}): {', '.join(ahead) or 'none'}")
    faster = [name for name, row in peers.items() if row.windows_per_s >= own.windows_per_s]
    print(f"ahead of {FLAGSHIP} in windows/s: {', '.join(faster) or 'none'}")


def main() -> None:
    """Print a table for each preparation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-s", type=float, default=180.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads of each model. The coupled CNN-LSTM uses one."
    )
    parser.add_argument(
        "--peers", nargs="+", choices=[*PEERS, "poco"], metavar="NAME", help="Peers to compare with; all by default."
    )
    parser.add_argument("--poco", type=Path, metavar="PATH", help="Checkout of POCO.")
    parser.add_argument(
        "--preparation", nargs="+", type=Preparation, default=[Preparation.ORGANOID, Preparation.BRUNEL]
    )
    parser.add_argument("--recordings", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER, help="Folder of the simulated recordings.")
    arguments = parser.parse_args()
    peers, left_out = available_peers(arguments.poco)
    print(*left_out, sep="\n")
    if arguments.peers:
        peers = {name: build for name, build in peers.items() if name in arguments.peers}
    if not peers:
        print("There is no peer to compare with. The docstring of this file explains how to install them.")
        return
    retain_allocator_memory()
    with cpu_threads(arguments.threads):
        for preparation in arguments.preparation:
            window_set = reference_window_set(preparation, arguments.folder, n_recordings=arguments.recordings)
            print_table(window_set, peers, arguments.budget_s, arguments.seeds)
    print(NOTES)


if __name__ == "__main__":
    main()
