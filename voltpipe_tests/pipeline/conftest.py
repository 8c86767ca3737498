"""A lake that went through the whole graph once, with real stores; made once, and only read."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import torch

from voltpipe.lake import Lake
from voltpipe.pipeline.instance import open_instance
from voltpipe.pipeline.launch import Launcher
from voltpipe.recordings.raw import find_raw
from voltpipe.tracking.store import TrackingStore

torch.set_num_threads(1)

GOOD_TRAINING = {"max_epochs": 3, "windows_per_epoch": 160, "budget_s": 60.0, "device": "cpu"}
POOR_TRAINING = {"architecture": "cnn_lstm", "max_epochs": 1, "windows_per_epoch": 32, "device": "cpu"}


@dataclass(frozen=True)
class Materialized:
    """The lake, and the Dagster runs in the order in which they ran."""

    lake: Lake
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
def materialized(
    tmp_path_factory, working_directory, fill_raw, put_recording, spiking_mv, small_windows
) -> Materialized:
    """Six good recordings and one with NaN; a good forecaster that becomes champion, then a poor one."""
    lake = Lake(tmp_path_factory.mktemp("materialized") / "lake")
    fill_raw(lake)
    broken_mv = spiking_mv(9)
    broken_mv[700, 2] = np.nan
    put_recording(lake, "run_broken", broken_mv)
    launcher = Launcher(lake)
    launcher.ingest(find_raw(lake).found)
    launcher.train(split=small_windows, training=GOOD_TRAINING)
    launcher.train(split=small_windows, training=POOR_TRAINING)
    poor, good, *_, ingest = launcher.instance.get_runs()
    return Materialized(lake, launcher.instance, ingest, good, poor, working_directory)


@pytest.fixture(scope="session")
def _prepared_mlflow(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "mlflow"
    TrackingStore(folder).prepare()
    return folder


@pytest.fixture
def trainable(tmp_path, materialized, _prepared_mlflow) -> Lake:
    """A lake of its own with conditioned recordings and empty stores."""
    lake = Lake(tmp_path / "lake")
    shutil.copytree(materialized.lake.conditioned, lake.conditioned)
    shutil.copytree(_prepared_mlflow, lake.mlflow)
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
