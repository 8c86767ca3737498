"""Two whole retrainings asked for at once, as by two people who click: both end, one wins, the other says why.

    python benchmarks/two_retrainings.py

Each is a process of its own on one lake: split, windows, training, evaluation, registration, gate. The exit status is 1
if either did not end, or both or neither became champion. About a minute on two cores.
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
    """Conditioned recordings, and nothing trained on them."""
    for number in range(N_RECORDINGS):
        path = lake.raw / "slice" / f"run_{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, voltage=spiking_mv(np.random.default_rng(number), 0.0), rate_hz=RATE_HZ, unit="mV")
    Launcher(lake).ingest(list_raw(lake).found)


def retrain() -> None:
    """One retraining, begun when a line comes."""
    torch.set_num_threads(1)
    launcher = Launcher(Lake.default())
    print("ready", flush=True)
    sys.stdin.readline()
    split, training = (RUN_CONFIG["ops"][name]["config"] for name in ("recording_split", "trained_forecaster"))
    launcher.train(split=split, training=training)


def at_once(lake: Lake) -> list[int]:
    """Two of them in processes of their own; their exit statuses."""
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


def tell(lake: Lake) -> bool:
    """Print what became of both; whether it is as promised."""
    launcher, store = Launcher(lake), TrackingStore.of(lake)
    runs = launcher.instance.get_runs(dg.RunsFilter(job_name=TRAIN_JOB))
    versions = [find_version(store, number) for number in ("1", "2")]
    for version in versions:
        print(f"version {version.version}, {version.tags['gate.decision']}: {version.tags['gate.reason']}")
    print(f"runs: {', '.join(run.status.value for run in runs)}; aliases: {aliases(store)}")
    ended = all(run.status is dg.DagsterRunStatus.SUCCESS for run in runs) and not store.tagged_runs(
        {}, status="RUNNING"
    )
    return ended and sorted(version.tags["gate.decision"] for version in versions) == ["promoted", "refused"]


def main() -> None:
    """Prepare, retrain twice at once, and tell."""
    if sys.argv[1:] == ["--retrain"]:
        return retrain()
    with TemporaryDirectory() as scratch:
        lake = Lake(Path(scratch).resolve() / "lake")
        prepare(lake)
        statuses = at_once(lake)
        print(f"exit statuses: {statuses}")
        sys.exit(not (statuses == [0, 0] and tell(lake)))


if __name__ == "__main__":
    main()
