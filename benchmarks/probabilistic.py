"""Coverage, CRPS, spike probabilities and a roll-out on `organoid`, compared with those of the lookup table.

    python benchmarks/probabilistic.py [--budget-s 75] [--folder FOLDER]

Scores are over every window of the held-out recordings. The distribution of the lookup table is that of the future
voltage given the present one. The target is a coverage of the 80 % interval between 78 and 82 %.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.predictive_distribution import PredictiveDistribution
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.fitting import fit_baselines
from voltpipe.forecasting.training.train import train
from voltpipe.inference.rollout import roll_out
from voltpipe.progress import NO_TRAINING_PROGRESS
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.splits import Split

ROLLOUT_SAMPLES, SETTLING_SAMPLES = 3000, 200


def describe(voltage_mv: np.ndarray, distribution: PredictiveDistribution, rate_hz: float) -> str:
    """Format spike rate and voltage quantiles."""
    at_reset = distribution.standing_at_reset(torch.from_numpy(voltage_mv)).numpy()
    rate = rate_hz * (at_reset[1:] & ~at_reset[:-1]).mean()
    quantiles_mv = np.quantile(voltage_mv, (0.1, 0.25, 0.5, 0.75, 0.9)).round(2)
    return f"{rate:.2f} Hz, 10/25/50/75/90 % quantiles of the voltage {quantiles_mv} mV"


def main() -> None:
    """Print the table and the statistics of the roll-out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-s", type=float, default=75.0)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    windows = reference_window_set(Preparation.ORGANOID, arguments.folder)
    checkpoints = arguments.folder / f"probabilistic-{windows.digest[:12]}-{arguments.budget_s:g}"
    settings = TrainingSettings(budget_s=arguments.budget_s)
    forecaster = train(windows, settings, checkpoint_folder=checkpoints, progress=NO_TRAINING_PROGRESS).forecaster
    evaluation, _ = score_forecaster(forecaster, windows, {"look_up": fit_baselines(windows)["look_up"]})
    print("forecaster        samples  CRPS (mV)  coverage of 50/80/95 %       spike AUC   Brier")
    for score in evaluation.distributions:
        if score.regime == Regime.TEST and score.spikes:
            coverage = " / ".join(f"{score.coverage[percent]:.1%}" for percent in (50, 80, 95))
            print(
                f"{score.forecaster:17} {score.horizon:7} {score.crps_mv:10.4f}  {coverage:27} "
                f"{score.spikes.auc:10.4f} {score.spikes.brier:7.4f}"
            )
    first = windows.index[windows.windows(Split.TEST)[0]]
    recording = windows.recordings[first["recording"]]
    mean_mv, sd_mv = windows.calibration_mv(int(first["recording"]))
    recorded_mv = (windows.samples_z[recording.start_row : recording.stop_row] * sd_mv + mean_mv).numpy()
    adapted = forecaster.for_recording(recording.organoid, windows.channel_names)
    rollout_mv = roll_out(adapted, recorded_mv[: windows.context], ROLLOUT_SAMPLES, seed=0)[SETTLING_SAMPLES:]
    distribution = forecaster.known_distribution()
    for name, voltage_mv in (("recorded", recorded_mv), ("roll-out", rollout_mv)):
        print(f"{name}: {describe(voltage_mv, distribution, windows.rate_hz)}")


if __name__ == "__main__":
    main()
