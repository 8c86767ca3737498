"""Time from conditioned recordings to a given forecast skill on networks outside the training.

    python benchmarks/time_to_skill.py [--target-r2 0.77] [--epochs 8] [--windows-per-epoch 80] [--folder FOLDER]

The recordings are those of `brunel`, each with its own network. The clock runs during splitting, windowing, fitting,
training and validation, but not during simulation and conditioning. After each epoch it is stopped while R2 1 ms ahead
is computed on all zero-shot windows, those of recordings 43 to 49; that time is printed separately. The training is
planned for all epochs, since its learning rate decays with them, and does not stop at the target.

The first row is the lookup table, which is fitted in closed form. Both architectures start as this lookup table, so a
target below its R2 only measures the time to fit it. Training adds the difference.
"""

import argparse
import shutil
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.evaluation.accumulators import ErrorSums
from voltpipe.evaluation.held_out_windows import forecaster_for_regime, regime_windows
from voltpipe.evaluation.regimes import Regime
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.forecasting.training.checkpoint import load_checkpoint, read_state
from voltpipe.forecasting.training.train import train
from voltpipe.progress import EpochRecord
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.window_set import WindowSet

FORECASTERS = ("look_up", Architecture.SHARED_CNN_LSTM.value, Architecture.COUPLED_CNN_LSTM.value)
BATCH_WINDOWS = 128


@torch.inference_mode()
def zero_shot_r2(forecaster: Forecaster, window_set: WindowSet) -> float:
    """Return R2 in mV at the shortest horizon, on all windows of networks outside the training."""
    sums = ErrorSums(1, window_set.train_mean_mv())
    for_recording = forecaster_for_regime(forecaster, window_set, Regime.ZERO_SHOT)
    windows = regime_windows(forecaster, window_set)[Regime.ZERO_SHOT]
    recordings = window_set.index["recording"][windows]
    for number in sorted(set(recordings.tolist())):
        of_recording = windows[recordings == number]
        for first in range(0, len(of_recording), BATCH_WINDOWS):
            batch = window_set.batch(of_recording[first : first + BATCH_WINDOWS])
            forecast_z = for_recording(number).predict_z(batch.history_z, batch.mean_mv, batch.sd_mv)[:, :1]
            sums.add(forecast_z * batch.sd_mv[:, None] + batch.mean_mv[:, None], batch.target_mv()[:, :1])
    return float(sums.r2()[0])


class Clock:
    """Progress of a training with a clock that is stopped while each epoch is scored."""

    def __init__(self, began_s: float, target_r2: float) -> None:
        self.began_s, self.target_r2 = began_s, target_r2
        self.scoring_s = 0.0
        self.reached_s: float | None = None

    def watch(self, window_set: WindowSet, architecture: Architecture, folder: Path) -> None:
        """Set the architecture in training and the folder of its checkpoints."""
        self.window_set, self.folder = window_set, folder
        self.forecaster = Forecaster.unfitted(architecture, window_set)

    def started(self, *, resumed_after_epoch: int, device: str, parameters: int) -> None:
        """Print nothing."""

    def epoch_finished(self, record: EpochRecord) -> None:
        """Score the weights after this epoch."""
        now_s = time.monotonic()
        checkpoint = load_checkpoint(self.folder, read_state(self.folder).made_with)
        assert checkpoint
        self.forecaster.module.load_state_dict(checkpoint.weights)
        self.score(f"epoch {record.epoch}", self.forecaster, self.window_set, now_s)

    def score(self, name: str, forecaster: Forecaster, window_set: WindowSet, now_s: float) -> None:
        """Print elapsed time and R2; `now_s` is the time at which the clock was stopped."""
        elapsed_s = now_s - self.began_s - self.scoring_s
        r2 = zero_shot_r2(forecaster, window_set)
        scored_s = time.monotonic() - now_s
        self.scoring_s += scored_s
        if self.reached_s is None and r2 >= self.target_r2:
            self.reached_s = elapsed_s
        print(f"  {name:10s} {elapsed_s:7.1f} s   R2 {r2:.4f}   (scored in {scored_s:.1f} s)", flush=True)

    def sum_up(self) -> None:
        """Print the time at which the target was reached."""
        when = "not reached" if self.reached_s is None else f"reached after {self.reached_s:.1f} s"
        print(f"  R2 {self.target_r2:g} {when}", flush=True)


def from_conditioned(conditioned: Path, name: str, epochs: int, windows_per_epoch: int, target_r2: float) -> None:
    """Print times and R2 of the lookup table or an architecture, from conditioned recordings on."""
    print(f"\n{name}")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(conditioned, folder / Preparation.BRUNEL.value / conditioned.name)
        clock = Clock(time.monotonic(), target_r2)
        window_set = reference_window_set(Preparation.BRUNEL, folder)
        print(f"  windows    {time.monotonic() - clock.began_s:7.1f} s", flush=True)
        if name == "look_up":
            lookup_table = Forecaster.unfitted(name, window_set)
            lookup_table.module.fit(window_set)
            clock.score("fitted", lookup_table, window_set, time.monotonic())
        else:
            architecture = Architecture(name)
            clock.watch(window_set, architecture, folder / "checkpoints")
            settings = TrainingSettings(
                architecture=architecture, max_epochs=epochs, windows_per_epoch=windows_per_epoch, budget_s=86_400
            )
            train(window_set, settings, checkpoint_folder=clock.folder, progress=clock)
        clock.sum_up()


def main() -> None:
    """Print a table for each forecaster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forecasters", nargs="+", choices=FORECASTERS, default=FORECASTERS)
    parser.add_argument("--target-r2", type=float, default=0.77)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--windows-per-epoch", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reference_window_set(Preparation.BRUNEL, arguments.folder)  # simulate and condition before the clock starts
    conditioned = arguments.folder / Preparation.BRUNEL.value / "conditioned"
    for name in arguments.forecasters:
        from_conditioned(conditioned, name, arguments.epochs, arguments.windows_per_epoch, arguments.target_r2)


if __name__ == "__main__":
    main()
