"""A compressed year: recordings of two organoids arrive in bursts, one organoid drifts, files are bad, processes die.

    python benchmarks/year.py [--bursts 4] [--seed 0] [--folder FOLDER]

Dagster and MLflow run as started by `voltpipe up`, and runs log to MLflow's server. Everything is automatic: sensors
condition recordings, and train, review and promote forecasters. At random times, drawn from the seed, a run's worker,
Dagster's daemon, its code server, MLflow's server or everything at once is killed with kill -9. At the end the system
gets time to settle, and everything is counted. The exit status is 1 if anything was lost.

Takes about ten minutes on one core. Linux only, since processes are found in /proc.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import numpy as np
import torch
import yaml

from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.checkpoint import read_state
from voltpipe.forecasting.training.train import train
from voltpipe.forecasting.training.training_result import read_result
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.monitoring.retraining_policy import decide_retraining
from voltpipe.pipeline.dagster_home import open_instance
from voltpipe.pipeline.jobs import TRAIN_JOB
from voltpipe.pipeline.progress_listeners import PROGRESS_TAG
from voltpipe.pipeline.retraining_requests import POLICY_FILE, read_policy, retraining_state
from voltpipe.pipeline.runs import MLFLOW_RUN_TAG, unfinished_runs
from voltpipe.progress import NO_TRAINING_PROGRESS
from voltpipe.recordings.raw.arrivals import find_arrivals
from voltpipe.recordings.raw.raw_folder import list_raw
from voltpipe.recordings.raw.recording_records import Verdict, read_history
from voltpipe.tracking.mlflow_store import TRACKING_VARIABLE, TrackingStore
from voltpipe.tracking.model_registry import MODEL_NAME, champion
from voltpipe.tracking.run_lifecycle import IDENTITY_TAG
from voltpipe.windows.split_manifest import SplitManifest
from voltpipe.windows.window_set import WindowSet

RATE_HZ, N_SAMPLES, N_CHANNELS = 250.0, 1500, 6
DAGSTER_PORT, MLFLOW_PORT = 13_400, 15_400
SETTLE_S = 1200.0
POLICY = {"min_recordings": 3, "wait_hours": 0.0, "run_config": "tiny.yaml"}
TRAINING = {"max_epochs": 8, "windows_per_epoch": 320, "budget_s": 3600.0, "device": "cpu"}
RUN_CONFIG = {
    "ops": {
        "recording_split": {"config": {"context_samples": 30, "stride_samples": 5, "horizons_samples": [1, 2, 5]}},
        "trained_forecaster": {"config": TRAINING},
    }
}
TRAINING_WORKER = "the worker of a training"
VICTIMS = {
    TRAINING_WORKER: "multiprocessing.spawn",
    "a run's worker": "multiprocessing.spawn",
    "Dagster's daemon": "-m dagster._daemon",
    "Dagster's code server": "grpc",
    "MLflow's server": "-m mlflow",
    "everything": "",
}


def spiking_mv(rng: np.random.Generator, drift: float) -> np.ndarray:
    """Simulate integrate-and-fire neurons; drift (0 to 1) makes them slower and noisier."""
    membrane_mv = rng.uniform(-70, -50, N_CHANNELS)
    voltage_mv = np.empty((N_SAMPLES, N_CHANNELS), np.float32)
    for sample in range(N_SAMPLES):
        membrane_mv = membrane_mv + (0.12 - 0.05 * drift) * (-44 + 2 * drift - membrane_mv)
        membrane_mv = membrane_mv + rng.normal(0, 0.6 + 0.6 * drift, N_CHANNELS)
        membrane_mv = np.where(membrane_mv > -50, -70, membrane_mv)
        voltage_mv[sample] = membrane_mv
    return voltage_mv


class Rig:
    """A recording rig that writes good and bad recordings to the lake."""

    def __init__(self, lake: Lake, rng: np.random.Generator) -> None:
        self.lake, self.rng, self.n_put, self.n_bad = lake, rng, 0, 0

    def burst(self, year: float, first: bool) -> None:
        """Write recordings of both organoids; more in the first burst, so that some can be held out."""
        for organoid, drift in (("steady", 0.0), ("drifting", year)):
            for _ in range(5 if first else int(self.rng.integers(2, 4))):
                # Some files have a clock that is two days ahead.
                self._put(organoid, spiking_mv(self.rng, drift), age_s=-172_800 if self.rng.random() < 0.1 else 60)
        broken_mv = spiking_mv(self.rng, 0.0)
        broken_mv[700, 2] = np.nan
        self._put("steady", broken_mv)
        truncated = self._put("drifting", spiking_mv(self.rng, year))
        truncated.write_bytes(truncated.read_bytes()[:-5000])
        os.utime(truncated, (time.time() - 60,) * 2)
        self.n_bad += 2

    def _put(self, organoid: str, samples_mv: np.ndarray, age_s: float = 60) -> Path:
        path = self.lake.raw / organoid / f"run_{self.n_put:03d}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, voltage=samples_mv, rate_hz=RATE_HZ, unit="mV")
        os.utime(path, (time.time() - age_s,) * 2)
        self.n_put += 1
        return path


class Servers:
    """`voltpipe up` on the lake, restarted when it is killed."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.kills: Counter[str] = Counter()
        tracking = {TRACKING_VARIABLE: f"http://127.0.0.1:{MLFLOW_PORT}"}
        self.environment = {**os.environ, LAKE_VARIABLE: str(lake.root), "OMP_NUM_THREADS": "1", **tracking}
        self.start()

    def start(self) -> None:
        """Start everything, as after a power failure."""
        ports = ("--dagster-port", str(DAGSTER_PORT), "--mlflow-port", str(MLFLOW_PORT))
        command = [sys.executable, "-c", "from voltpipe.cli.main import main; main()", "up", *ports]
        with (self.lake.root / "up.log").open("ab") as log:
            self.up = subprocess.Popen(
                command, env=self.environment, cwd=self.lake.root, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, victim: str) -> bool:
        """Kill a victim if it is running. After `everything`, start all of it again, as after a power failure."""
        found = [process for process in self._processes() if VICTIMS[victim] in process[1]]
        for process, _ in found:
            os.kill(process, signal.SIGKILL)
        if found:
            self.kills[victim] += 1
            say(f"killed {victim}")
        if victim == "everything":
            self.up.wait(60)
            self.start()
        return bool(found)

    def keep_up(self) -> None:
        """Restart `voltpipe up` if it has exited, as an init system does."""
        if self.up.poll() is not None:
            say("`voltpipe up` has exited and is restarted")
            self.start()

    def stop(self) -> None:
        """Stop everything, as with Ctrl-C."""
        self.up.send_signal(signal.SIGINT)
        self.up.wait(120)

    def _processes(self) -> list[tuple[int, str]]:
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{LAKE_VARIABLE}={self.lake.root}\0".encode() in environment.read_bytes():
                    command = environment.with_name("cmdline").read_text().replace("\0", " ")
                    found.append((int(environment.parent.name), command))
            except OSError:  # the process has ended, or belongs to another user
                continue
        return found


def say(what: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)


def settled(lake: Lake, instance: dg.DagsterInstance, store: TrackingStore) -> bool:
    """Return whether every raw file has a verdict, no run is active and no training is due."""
    if find_arrivals(lake).ready or any(read_history(lake, key) is None for key in list_raw(lake).found):
        return False
    policy = read_policy(lake)
    if decide_retraining(policy, retraining_state(instance, lake, store, policy)).due:
        return False
    return not unfinished_runs(instance)  # checked last, since a due training may just have started


def run_burst(
    servers: Servers, instance: dg.DagsterInstance, store: TrackingStore, rng: np.random.Generator, n_kills: int
) -> None:
    """Wait until a burst is processed. Meanwhile kill `n_kills` processes, one of them the worker of a training."""
    until_s = time.monotonic() + SETTLE_S
    victims = [TRAINING_WORKER, *(str(rng.choice(list(VICTIMS))) for _ in range(n_kills - 1))][:n_kills]
    next_kill_s = time.monotonic() + rng.uniform(20, 60)
    while time.monotonic() < until_s:
        time.sleep(2)
        servers.keep_up()
        due = bool(victims) and time.monotonic() > next_kill_s
        if due and (victims[-1] != TRAINING_WORKER or is_training(instance)) and servers.kill(victims[-1]):
            victims.pop()
            next_kill_s = time.monotonic() + rng.uniform(20, 60)
        if time.monotonic() > next_kill_s and settled(servers.lake, instance, store):
            return
    say(f"the system did not settle within {SETTLE_S:.0f} s")


def weights_differ(lake: Lake, folder: Path) -> bool:
    """Return whether an uninterrupted repetition of a training ends with other weights."""
    made_with = read_state(folder).made_with
    (windows,) = (
        folder for folder in lake.windows.glob("set-*") if WindowSet(folder).digest == made_with["window_set"]
    )
    with TemporaryDirectory() as scratch:
        repeated = train(
            WindowSet(windows),
            TrainingSettings(**TRAINING),
            checkpoint_folder=Path(scratch),
            progress=NO_TRAINING_PROGRESS,
        )
    weights = repeated.forecaster.module.state_dict()
    found = read_result(folder).forecaster.module.state_dict()
    return not all(torch.equal(tensor, found[name]) for name, tensor in weights.items())


def is_training(instance: dg.DagsterInstance) -> bool:
    """Return whether a training is between its first and its last epoch."""
    active = instance.get_runs(dg.RunsFilter(job_name=TRAIN_JOB, statuses=[dg.DagsterRunStatus.STARTED]))
    progress = [run.tags.get(PROGRESS_TAG, "").split(",")[0] for run in active]
    return any(text.startswith("epoch ") and text != f"epoch {TRAINING['max_epochs']}" for text in progress)


class Account:
    """Counts of recordings, trainings and versions, from the lake and both stores."""

    def __init__(self, lake: Lake, instance: dg.DagsterInstance, store: TrackingStore) -> None:
        self.lake, self.instance, self.store = lake, instance, store
        histories = {str(key): read_history(lake, key) for key in list_raw(lake).found}
        self.lost = [key for key, history in histories.items() if history is None]
        verdicts = {key: history.present.verdict for key, history in histories.items() if history}
        self.conditioned = {key for key, verdict in verdicts.items() if verdict is Verdict.CONDITIONED}
        self.quarantined = verdicts.keys() - self.conditioned
        manifest = SplitManifest.load(lake.windows)
        self.used = self.conditioned & set(manifest.roles if manifest else ())
        self.trainings = instance.get_runs(dg.RunsFilter(job_name=TRAIN_JOB))
        self.succeeded = [run for run in self.trainings if run.status is dg.DagsterRunStatus.SUCCESS]
        self.versions = sorted(
            store.client.search_model_versions(f"name = '{MODEL_NAME}'"), key=lambda version: int(version.version)
        )
        self.decisions = Counter(version.tags.get("gate.decision", "undecided") for version in self.versions)

    def unfinished(self) -> tuple[int, int]:
        """Count the runs that Dagster and MLflow regard as active."""
        return len(unfinished_runs(self.instance)), len(self.store.tagged_runs({}, status="RUNNING"))

    def by_mlflow_run(self) -> dict[str, list[dg.DagsterRun]]:
        """Return the Dagster runs of each training, including retries."""
        runs_by_training: dict[str, list[dg.DagsterRun]] = {}
        for run in self.trainings:
            if (mlflow_run_id := run.tags.get(MLFLOW_RUN_TAG)) is not None:
                runs_by_training.setdefault(mlflow_run_id, []).append(run)
        return runs_by_training

    def repeated_epochs(self) -> dict[str, int]:
        """Count the epochs trained more than once, for each training of several runs."""
        repeated = {}
        for mlflow_run_id, runs in self.by_mlflow_run().items():
            epochs = Counter(epoch for run in runs for epoch in self._epochs(run))
            if len(runs) > 1:
                repeated[mlflow_run_id] = sum(epochs.values()) - len(epochs)
        return repeated

    def _epochs(self, run: dg.DagsterRun) -> list[int]:
        records = self.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION).records
        observations = [record.asset_observation for record in records]
        return [int(str(one.metadata["epoch"].value)) for one in observations if one and "epoch" in one.metadata]

    def training_folder(self, mlflow_run_id: str) -> Path:
        """Return the checkpoint folder of a training."""
        return self.lake.checkpoints / self.store.client.get_run(mlflow_run_id).data.tags[IDENTITY_TAG]

    def half_registered(self) -> list[str]:
        """List versions without a model card, architecture or promotion decision."""
        needed = ("gate.decision", "gate.reason", "architecture")
        return [
            str(version.version)
            for version in self.versions
            if not version.description or any(name not in version.tags for name in needed)
        ]


def report(account: Account, rig: Rig, servers: Servers) -> None:
    """Print the counts, and the decision on each version."""
    dagster, mlflow = account.unfinished()
    resumed = account.repeated_epochs()
    requested = [run for run in account.trainings if run.root_run_id is None]
    print(f"""
recordings:            {rig.n_put} ({rig.n_bad} bad)
  used:                {len(account.used)}
  quarantined:         {len(account.quarantined)}
  waiting for the next training: {len(account.conditioned - account.used)}
  lost:                {len(account.lost)}
killed:                {servers.kills.total()} ({", ".join(f"{n} x {name}" for name, n in servers.kills.items())})
retrainings due:       {len(requested)}
  succeeded:           {len(account.succeeded)}
  resumed:             {len(resumed)} (epochs trained twice: {sum(resumed.values())})
  promoted:            {account.decisions["promoted"]}
  refused:             {account.decisions["refused"]}
runs left unfinished:  {dagster} in Dagster, {mlflow} RUNNING in MLflow
half-registered:       {len(account.half_registered())}

versions:""")
    for version in account.versions:
        print(f"  version {version.version}, {version.tags.get('gate.decision')}: {version.tags.get('gate.reason')}")


def broken(account: Account, rig: Rig) -> list[str]:
    """List the promises that were broken."""
    present = champion(account.store)
    resumed = account.repeated_epochs()
    runs_by_training = account.by_mlflow_run()
    checked = next(iter(resumed), None) or next(iter(runs_by_training), None)
    promises = {
        "every recording has a verdict": not account.lost
        and len(account.conditioned | account.quarantined) == rig.n_put,
        "all bad recordings, and no others, are in quarantine": len(account.quarantined) == rig.n_bad,
        "no run is left unfinished": account.unfinished() == (0, 0),
        "no version is half-registered": not account.half_registered(),
        "there is a champion": present is not None,
        "a version was registered for each training that succeeded": len(account.versions) >= len(account.succeeded),
        "each interruption costs at most one epoch": all(
            n < len(runs_by_training[name]) for name, n in resumed.items()
        ),
        "a training that was killed has the weights of an uninterrupted one": checked is not None
        and not weights_differ(account.lake, account.training_folder(checked)),
    }
    return [promise for promise, kept in promises.items() if not kept]


def run_year(lake: Lake, n_bursts: int, seed: int) -> int:
    """Simulate the year, and return the exit status."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    lake.dagster.mkdir(parents=True)
    (lake.dagster / POLICY_FILE).write_text(yaml.safe_dump(POLICY))
    (lake.dagster / POLICY["run_config"]).write_text(yaml.safe_dump(RUN_CONFIG))
    store = TrackingStore(lake.mlflow)
    _ = store.experiment_id  # created here, so that its artifacts are stored in the lake and not behind the server
    instance, rig, servers = open_instance(lake), Rig(lake, rng), Servers(lake)
    try:
        for burst in range(n_bursts):
            rig.burst(burst / max(1, n_bursts - 1), first=burst == 0)
            say(f"burst {burst + 1} of {n_bursts}: {rig.n_put} recordings")
            run_burst(servers, instance, store, rng, n_kills=0 if burst == n_bursts - 1 else 2)
    finally:
        servers.stop()
    account = Account(lake, instance, store)
    report(account, rig, servers)
    failures = broken(account, rig)
    print("\n" + "\n".join(f"BROKEN: {promise}" for promise in failures) if failures else "\nAll promises are kept.")
    return len(failures) > 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bursts", type=int, default=4, help="Number of bursts of recordings.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the recordings and of the kills.")
    parser.add_argument(
        "--folder", type=Path, help="Folder in which the lake is created and kept. Temporary if not given."
    )
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        sys.exit(run_year(Lake(folder.resolve() / "lake"), arguments.bursts, arguments.seed))


if __name__ == "__main__":
    main()
