"""A lake that went through the whole graph once, with real stores; made once, and only read or copied."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from voltpipe.files import read_json, write_json
from voltpipe.lake import Lake
from voltpipe.pipeline.instance import open_instance
from voltpipe.pipeline.launch import Launcher
from voltpipe.recordings.raw import find_raw
from voltpipe.tracking.store import TrackingStore

GOOD_TRAINING = {"max_epochs": 3, "windows_per_epoch": 160, "budget_s": 60.0, "device": "cpu"}
POOR_TRAINING = {"architecture": "cnn_lstm", "max_epochs": 1, "windows_per_epoch": 32, "device": "cpu"}


@dataclass(frozen=True)
class Materialized:
    """The lake, a copy of it that nothing ever opens, and the Dagster runs in the order in which they ran."""

    lake: Lake
    closed_copy: Path
    instance: dg.DagsterInstance
    ingest_run: dg.DagsterRun
    good_run: dg.DagsterRun
    poor_run: dg.DagsterRun
    working_directory: Path

    @property
    def store(self) -> TrackingStore:
        return TrackingStore(self.lake.mlflow)

    def latest(self, asset: str) -> dg.AssetMaterialization:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization

    def checks(self, run: dg.DagsterRun) -> dict[str, Any]:
        """Results of a run's asset checks, by name."""
        records = self.instance.get_records_for_run(run.run_id).records
        evaluations = [
            record.event_log_entry.dagster_event.asset_check_evaluation_data
            for record in records
            if record.event_log_entry.dagster_event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]
        return {evaluation.check_name: evaluation for evaluation in evaluations}


@pytest.fixture(scope="session")
def small_windows() -> dict[str, Any]:
    """Settings of `recording_split` that fit the tiny preparation."""
    return {"context_samples": 30, "stride_samples": 5, "horizons_samples": [1, 2, 5]}


@pytest.fixture(scope="session")
def good_training() -> dict[str, Any]:
    """Settings of `trained_forecaster` with which `materialized` trained its good forecaster."""
    return dict(GOOD_TRAINING)


@pytest.fixture(scope="session")
def fill_raw(spiking_mv, put_recording) -> Callable[[Lake], None]:
    """Six recordings of an organoid into a lake: run_2 is going to be held out, run_4 to validate."""

    def fill(lake: Lake) -> None:
        for number in range(6):
            put_recording(lake, f"run_{number}", spiking_mv(number))

    return fill


@pytest.fixture(scope="session")
def _trained_lake(
    slow_to_make, made_once, working_directory, fill_raw, put_recording, spiking_mv, small_windows
) -> Path:
    """Holds the lake, its copy, and the ids of its runs. The lake's stores name absolute paths: it stays in place."""

    def fill(folder: Path) -> None:
        lake = Lake(folder / "lake")
        fill_raw(lake)
        broken_mv = spiking_mv(9)
        broken_mv[700, 2] = np.nan
        put_recording(lake, "run_broken", broken_mv)
        launcher = Launcher(lake)
        launcher.ingest(find_raw(lake).found)
        launcher.train(split=small_windows, training=GOOD_TRAINING)
        launcher.train(split=small_windows, training=POOR_TRAINING)
        poor, good, *_, ingest = (run.run_id for run in launcher.instance.get_runs())
        launcher.instance.dispose()
        shutil.copytree(lake.root, folder / "closed_copy")
        runs = {"ingest_run": ingest, "good_run": good, "poor_run": poor}
        write_json(folder / "made.json", {"runs": runs, "working_directory": str(working_directory)})

    return made_once("trained_lake", fill)


@pytest.fixture(scope="session")
def materialized(_trained_lake, working_directory) -> Iterator[Materialized]:
    """Six good recordings and one with NaN; a good forecaster that becomes champion, then a poor one."""
    lake, made = Lake(_trained_lake / "lake"), read_json(_trained_lake / "made.json")
    with open_instance(lake) as instance:
        runs = {name: instance.get_run_by_id(run_id) for name, run_id in made["runs"].items()}
        directory = Path(made["working_directory"])
        yield Materialized(lake, _trained_lake / "closed_copy", instance, **runs, working_directory=directory)


@pytest.fixture(scope="module")
def materialized_copy(materialized, tmp_path_factory) -> Iterator[Materialized]:
    """The same lake at another place, for the tests of a module that write to it."""
    lake = Lake(shutil.copytree(materialized.closed_copy, tmp_path_factory.mktemp("materialized") / "lake"))
    with open_instance(lake) as instance:
        yield replace(materialized, lake=lake, instance=instance)


@pytest.fixture
def trainable(tmp_path, materialized, prepared_mlflow) -> Lake:
    """A lake of its own with conditioned recordings and empty stores."""
    lake = Lake(tmp_path / "lake")
    shutil.copytree(materialized.lake.conditioned, lake.conditioned)
    shutil.copytree(prepared_mlflow, lake.mlflow)
    open_instance(lake).dispose()
    return lake


@pytest.fixture
def store(trainable) -> TrackingStore:
    """MLflow's store in that lake."""
    return TrackingStore(trainable.mlflow)


@pytest.fixture
def instance(trainable, working_directory) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance in that lake."""
    with open_instance(trainable) as instance:
        yield instance
