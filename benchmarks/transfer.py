"""R2 on a new organoid by the amount of its data, for forecasters pretrained on other organoids or not.

    python benchmarks/transfer.py [--budget-s 120] [--fine-tuning-s 20] [--folder FOLDER]

The coupled CNN-LSTM is pretrained on recordings 0 to 34 of `brunel` (35 other networks). The new organoid is
`organoid`: a number of seconds from its first recordings is available, and recordings 43 to 49 are forecast.

coupling only   pretrained weights, with the coupling estimated from the new data (no gradient descent)
all weights     pretrained weights, fine-tuned on the new data
from scratch    a forecaster trained on the new data alone
"""

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from reference import REFERENCE_FOLDER, reference_window_set

from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.train import train
from voltpipe.lake.files import read_json, write_json
from voltpipe.progress import NO_TRAINING_PROGRESS
from voltpipe.simulation.settings import Preparation
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import INDEX_FILE, SAMPLES_FILE, WINDOW_SET_MANIFEST_FILE, WindowSet

SECONDS = (0, 1, 2, 5, 7, 30, 120)
VALIDATION_SHARE = 0.2
FINE_TUNING_RATE = 1e-3


def beginning(window_set: WindowSet, seconds: float, folder: Path) -> WindowSet:
    """Restrict training and validation of a window set to the first seconds, of which the end is for validation."""
    folder.mkdir()
    (folder / SAMPLES_FILE).symlink_to((window_set.folder / SAMPLES_FILE).resolve())
    manifest = read_json(window_set.folder / WINDOW_SET_MANIFEST_FILE)
    remaining, spans = round(seconds * window_set.rate_hz), []
    for recording, start, stop, split in manifest["spans"]:
        if split == Split.TRAIN and remaining > 0:
            taken = min(remaining, stop - start)
            remaining -= taken
            border = start + round(taken * (1 - VALIDATION_SHARE))
            spans += [[recording, start, border, "train"], [recording, border, start + taken, "validation"]]
        elif split == Split.TEST:
            spans.append([recording, start, stop, split])
    index = np.load(window_set.folder / INDEX_FILE)
    index = index[index["split"] == Split.TEST.code]
    n_rows = window_set.settings.window_samples
    parts = [index]
    for recording, start, stop, split in spans:
        if split != Split.TEST:
            starts = np.arange(start, stop - n_rows + 1, window_set.settings.stride_samples)
            part = np.empty(len(starts), index.dtype)
            part["recording"], part["start_row"], part["split"] = recording, starts, Split(split).code
            parts.append(part)
    np.save(folder / INDEX_FILE, np.concatenate(parts))
    for entry in manifest["recordings"]:
        entry["calibration_stop_row"] = entry[
            "start_row"
        ]  # so that validation can use windows of the first two seconds
    write_json(
        folder / WINDOW_SET_MANIFEST_FILE, manifest | {"spans": spans, "digest": f"{window_set.digest}-{seconds:g}"}
    )
    return WindowSet(folder)


def r2(forecaster: Forecaster, window_set: WindowSet, regime: Regime) -> str:
    """Format R2 at each horizon on the held-out recordings."""
    evaluation, _ = score_forecaster(forecaster, window_set, {})
    scores = (evaluation.score(evaluation.forecaster, regime, horizon).r2 for horizon in window_set.horizons)
    return "".join(f"{score:>9.4f}" for score in scores)


def main() -> None:
    """Print a row for each amount of data and way of training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-s", type=float, default=120.0)
    parser.add_argument("--fine-tuning-s", type=float, default=20.0)
    parser.add_argument("--folder", type=Path, default=REFERENCE_FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    others = reference_window_set(Preparation.BRUNEL, arguments.folder)
    organoid = reference_window_set(Preparation.ORGANOID, arguments.folder)
    with TemporaryDirectory() as name:
        folder = Path(name)

        def train_forecaster(
            window_set: WindowSet, budget_s: float, begin_from: Forecaster | None = None
        ) -> Forecaster:
            """Train by the same recipe, with a lower learning rate when fine-tuning."""
            shutil.rmtree(folder / "training", ignore_errors=True)
            rate = FINE_TUNING_RATE if begin_from else None
            settings = TrainingSettings(budget_s=budget_s, learning_rate=rate)
            result = train(
                window_set,
                settings,
                checkpoint_folder=folder / "training",
                progress=NO_TRAINING_PROGRESS,
                begin_from=begin_from,
            )
            return result.forecaster

        pretrained = train_forecaster(others, arguments.budget_s)
        print(f"{'R2 on organoid at ... ms':32s}" + "".join(f"{horizon:>9d}" for horizon in organoid.horizons))
        for seconds in SECONDS:
            if not seconds:
                print(f"{'  0 s  zero-shot':32s}" + r2(pretrained, organoid, Regime.TEST), flush=True)
                continue
            new = beginning(organoid, seconds, folder / f"first-{seconds}")
            pasts_mv = []
            for recording, start, stop, split in new.manifest.spans:
                if split != Split.TEST:
                    mean_mv, sd_mv = new.calibration_mv(recording)
                    pasts_mv.append((new.samples_z[start:stop] * sd_mv + mean_mv).numpy())
            adapted = pretrained.adapted_to(pasts_mv, organoid.channel_names)
            rows = {
                "coupling only": adapted,
                "all weights": train_forecaster(new, arguments.fine_tuning_s, pretrained),
                "from scratch": train_forecaster(new, arguments.fine_tuning_s),
            }
            for way, forecaster in rows.items():
                print(f"{f'{seconds:3d} s  {way}':32s}" + r2(forecaster, new, Regime.TEST), flush=True)


if __name__ == "__main__":
    main()
