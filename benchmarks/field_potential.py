"""R2 on a real field potential (LFP, ECoG), by horizon: the baselines, lagged regression and, on request, the flagship.

    python benchmarks/field_potential.py RECORDING [--unit pV] [--exclude NAME ...] [--profile membrane|lfp]
                                         [--ends 4] [--budget-s 0]

RECORDING is a file in any format that voltpipe reads, with a sidecar or with `--unit`. The reference is the human ECoG
and LFP of github.com/neuromodulation/py_neuromodulation (py_neuromodulation/data, `*_ieeg.vhdr`; MIT). Its header
states a unit that is a million times too large: use `--unit pV --exclude MOV_RIGHT`.

The recording is split as in the pipeline: training at the beginning, then validation, and scores on the last 15 %, each
one window apart. The first 60 %, 70 %, ... of the recording are split in the same way, for mean and spread over several
ends. An autoregression fitted on the scored samples themselves gives an upper bound. R2 in mV is pooled over channels
about the training mean, as everywhere in voltpipe. R2 in z-units divides each channel by its training variance. The R2
of the median channel comes last.
"""

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.forecasting.baselines.autoregression import Autoregression
from voltpipe.forecasting.baselines.ridge import DEFAULT_SHRINKAGE, NormalEquations, accumulate_normal_equations
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.module_registry import BASELINES
from voltpipe.forecasting.settings import Architecture, TrainingSettings
from voltpipe.forecasting.training.train import train
from voltpipe.lake.paths import Lake
from voltpipe.progress import NO_TRAINING_PROGRESS
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.ingest import ingest
from voltpipe.recordings.settings import ConditioningSettings, Profile
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording, conditioned_recordings
from voltpipe.windows.build_window_set import build_window_set
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import make_split_manifest
from voltpipe.windows.split_segments import segments
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

HORIZONS = (1, 10, 20, 50, 100)
FIXED = "autoregression(64)"
ORACLE = "autoregression(64) fitted on test data"
_BATCH_WINDOWS = 256


def fixed_autoregression(window_set: WindowSet) -> Forecaster:
    """Fit an autoregression with all 64 lags and the default shrinkage, without selection."""
    forecaster = Forecaster.unfitted("autoregression", window_set)
    module = cast(Autoregression, forecaster.module)
    training, _ = accumulate_normal_equations(window_set, module.regression_data, n_before=module.n_lags - 1)
    _solve(module, training)
    return forecaster


def oracle_autoregression(window_set: WindowSet) -> Forecaster:
    """Fit an autoregression on the scored samples: an upper bound for all autoregressions of its order."""
    forecaster = Forecaster.unfitted("autoregression", window_set)
    module = cast(Autoregression, forecaster.module)
    rows = [(r, start, stop) for r, start, stop, split in window_set.manifest.spans if split == Split.TIME]
    scored_segments = segments(window_set, rows, n_before=module.n_lags - 1, n_after=window_set.horizons[-1])
    scored = NormalEquations.of(module.regression_data(segment, 1) for segment in scored_segments)
    assert scored
    _solve(module, scored)
    return forecaster


def _solve(module: Autoregression, normal: NormalEquations) -> None:
    solution = normal.solve(DEFAULT_SHRINKAGE, module.n_lags)
    module.weights.copy_(solution[:, :-1])
    module.intercepts.copy_(solution[:, -1])


def fit_forecasters(window_set: WindowSet, budget_s: float) -> dict[str, Forecaster]:
    """Fit all forecasters, and print how long each took. Return them by name."""
    found = {ORACLE: oracle_autoregression(window_set), FIXED: fixed_autoregression(window_set)}
    for name in (*BASELINES, "lagged_regression"):
        began_s = time.monotonic()
        found[name] = Forecaster.unfitted(name, window_set)
        found[name].module.fit(window_set)
        print(f"  {name} fitted in {time.monotonic() - began_s:.1f} s")
    if budget_s:
        settings = TrainingSettings(architecture=Architecture.COUPLED_CNN_LSTM, budget_s=budget_s)
        folder = window_set.folder.parent / f"{window_set.folder.name}_training"
        found[settings.architecture] = train(
            window_set, settings, checkpoint_folder=folder, progress=NO_TRAINING_PROGRESS
        ).forecaster
    return found


def r2(forecaster: Forecaster, window_set: WindowSet) -> tuple[Float[np.ndarray, " horizon"], ...]:
    """Return R2 in mV, R2 in z-units and R2 of the median channel on the held-out end, by horizon."""
    windows = window_set.windows(Split.TIME)
    errors = torch.zeros(len(window_set.horizons), window_set.n_channels, dtype=torch.float64)
    about_mean = torch.zeros_like(errors)
    for first in range(0, len(windows), _BATCH_WINDOWS):
        batch = window_set.batch(windows[first : first + _BATCH_WINDOWS])
        forecast_z = forecaster.predict_z(batch.history_z, batch.mean_mv, batch.sd_mv)
        errors += ((forecast_z - batch.target_z) * batch.sd_mv[:, None]).double().square().sum(0)
        about_mean += (batch.target_mv() - window_set.train_mean_mv()).double().square().sum(0)
    variance_mv2 = _training_variance_mv2(window_set)
    by_z = 1 - (errors / variance_mv2).sum(1) / (about_mean / variance_mv2).sum(1)
    median = (1 - errors / about_mean).median(1).values
    return (1 - errors.sum(1) / about_mean.sum(1)).numpy(), by_z.numpy(), median.numpy()


def _training_variance_mv2(window_set: WindowSet) -> Float[Tensor, " channel"]:
    ((recording, start_row, stop_row),) = window_set.train_rows()
    _, sd_mv = window_set.calibration_mv(recording)
    return (window_set.samples_z[start_row:stop_row] * sd_mv).double().var(0)


def condition(recording: Path, lake: Lake, hints: Hints) -> int:
    """Ingest and condition the recording, and return its number of samples at the new rate."""
    (key,) = ingest(lake, recording, "tissue", hints)
    outcome = condition_raw(lake, key, ConditioningSettings())
    if not conditioned_recordings(lake):
        raise SystemExit(outcome.reason)
    (conditioned,) = conditioned_recordings(lake).values()
    print(f"{recording.name}: {len(conditioned.channel_names)} channels at {conditioned.rate_hz:g} Hz")
    return conditioned.n_samples


class Beginning:
    """The beginning of a conditioned recording, as if it had ended there."""

    def __init__(self, recording: object, n_samples: int) -> None:
        self._recording = recording
        self.n_samples = n_samples

    def __getattr__(self, name: str) -> object:
        return getattr(self._recording, name)


def window_sets(lake: Lake, n_ends: int, context_samples: int, stride_samples: int) -> list[WindowSet]:
    """Build window sets of the whole recording and of shorter beginnings."""
    settings = WindowSettings(context_samples=context_samples, stride_samples=stride_samples, horizons_samples=HORIZONS)
    (item,) = conditioned_recordings(lake).items()
    found = []
    for number in range(n_ends):
        part = cast(ConditionedRecording, Beginning(item[1], round(item[1].n_samples * (1 - 0.1 * number))))
        recordings = {item[0]: part}
        manifest = make_split_manifest(recordings, settings)
        found.append(build_window_set(lake.windows / f"end{number}", manifest, recordings))
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, nargs="?")
    parser.add_argument("--unit")
    parser.add_argument("--exclude", nargs="*", default=())
    parser.add_argument("--profile", type=Profile, default=Profile.MEMBRANE)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--ends", type=int, default=4)
    parser.add_argument("--budget-s", type=float, default=0.0)
    arguments = parser.parse_args()
    if arguments.recording is None:
        print("Skipped: no recording was given. --help names the reference recording.")
        return
    if not arguments.recording.exists():
        parser.error(f"{arguments.recording} does not exist. Give a recording, such as the one that --help names.")
    torch.set_num_threads(1)  # as in training
    hints = {"exclude_channels": tuple(arguments.exclude), "profile": arguments.profile}
    with TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        condition(arguments.recording, lake, Hints(**hints, **({"unit": arguments.unit} if arguments.unit else {})))
        scores: dict[str, list[tuple[np.ndarray, ...]]] = {}
        for window_set in window_sets(lake, arguments.ends, arguments.context, arguments.stride):
            for name, forecaster in fit_forecasters(window_set, arguments.budget_s).items():
                scores.setdefault(name, []).append(r2(forecaster, window_set))
    print_tables(scores)


def print_tables(scores: dict[str, list[tuple[np.ndarray, ...]]]) -> None:
    """Print R2 on the end of the whole recording, and mean and SD over all ends."""
    for kind, title in enumerate(("R2 in mV", "R2 in z-units", "R2 of the median channel")):
        print(f"\n{title + ' at ... samples':36s}" + "".join(f"{horizon:>23d}" for horizon in HORIZONS))
        for name, by_end in scores.items():
            cells = []
            for column in range(len(HORIZONS)):
                values = [scores_of_end[kind][column] for scores_of_end in by_end]
                cells.append(f"{values[0]:.3f} ({statistics.mean(values):.3f}+-{statistics.pstdev(values):.3f})")
            print(f"{name:36s}" + "".join(f"{cell:>23s}" for cell in cells))
    print("R2 on the end of the whole recording (mean and SD over all ends)")


if __name__ == "__main__":
    main()
