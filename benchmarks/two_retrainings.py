"""Two retrainings requested at once: both finish, one is promoted, and the other is refused with a reason.

    python benchmarks/two_retrainings.py

Each runs in its own process on one lake: split, windows, training, evaluation, registration, promotion review. The exit
status is 1 unless both finish and exactly one becomes champion. Takes about a minute on two cores.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import numpy as np
import torch
from year import RATE_HZ, RUN_CONFIG, spiking_mv

from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.jobs import TRAIN_JOB
from voltpipe.pipeline.launcher import Launcher
from voltpipe.recordings.raw.raw_folder import list_raw
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import aliases, find_version

N_RECORDINGS = 6


def prepare(lake: Lake) -> None:
    """Condition recordings, without training."""
    for number in range(N_RECORDINGS):
        path = lake.raw / "slice" / f"run_{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, voltage=spiking_mv(np.random.default_rng(number), 0.0), rate_hz=RATE_HZ, unit="mV")
    Launcher(lake).ingest(list_raw(lake).found)


def retrain() -> None:
    """Wait for a line on standard input, then retrain."""
    torch.set_num_threads(1)
    launcher = Launcher(Lake.default())
    print("ready", flush=True)
    sys.stdin.readline()
    split, training = (RUN_CONFIG["ops"][name]["config"] for name in ("recording_split", "trained_forecaster"))
    launcher.train(split=split, training=training)


def at_once(lake: Lake) -> list[int]:
    """Start two retrainings at the same time, and return their exit statuses."""
    both = [
        subprocess.Popen(
            [sys.executable, __file__, "--retrain"],
            env={**os.environ, LAKE_VARIABLE: str(lake.root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout
        process.stdout.readline()
    for process in both:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
    return [process.returncode for process in both]


def report(lake: Lake) -> bool:
    """Print the outcome of both, and return whether it is as expected."""
    launcher, store = Launcher(lake), TrackingStore.of(lake)
    runs = launcher.instance.get_runs(dg.RunsFilter(job_name=TRAIN_JOB))
    versions = [find_version(store, number) for number in ("1", "2")]
    for version in versions:
        print(f"version {version.version}, {version.tags['gate.decision']}: {version.tags['gate.reason']}")
    print(f"runs: {', '.join(run.status.value for run in runs)}; aliases: {aliases(store)}")
    finished = all(run.status is dg.DagsterRunStatus.SUCCESS for run in runs) and not store.tagged_runs(
        {}, status="RUNNING"
    )
    return finished and sorted(version.tags["gate.decision"] for version in versions) == ["promoted", "refused"]


def main() -> None:
    """Prepare the lake, retrain twice at once, and report."""
    if sys.argv[1:] == ["--retrain"]:
        return retrain()
    with TemporaryDirectory() as scratch:
        lake = Lake(Path(scratch).resolve() / "lake")
        prepare(lake)
        statuses = at_once(lake)
        print(f"exit statuses: {statuses}")
        sys.exit(not (statuses == [0, 0] and report(lake)))


if __name__ == "__main__":
    main()
