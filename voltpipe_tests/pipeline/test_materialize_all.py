"""The button "Materialize all" succeeds on a lake of raw files, after a refusal and after a promotion.

Dagster itself executes the backfill: it is requested as by the UI, and advanced by the code of the daemon. The launcher
named in `dagster.yaml` runs everything in this process.
"""

import logging
from contextlib import ExitStack

import dagster as dg
import pytest
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_graphql.client.query import LAUNCH_PARTITION_BACKFILL_MUTATION
from dagster_graphql.test.utils import execute_dagster_graphql

from voltpipe.lake.files import read_json
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.asset_values import PromotionValue, value_path
from voltpipe.pipeline.dagster_home import DAGSTER_CONFIG_FILE, open_instance
from voltpipe.pipeline.launcher import register_raw_recordings
from voltpipe.pipeline.partitions import recording_keys

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources` is deprecated"),  # Dagster's own call
    # A run in this process opens an event loop inside that of the daemon, which cannot close it in full.
    pytest.mark.filterwarnings("ignore:coroutine 'BaseEventLoop.shutdown_asyncgens' was never awaited"),
]

IN_THIS_PROCESS = """
telemetry: {enabled: false}
run_launcher:
  module: dagster._core.launcher.sync_in_memory_run_launcher
  class: SyncInMemoryRunLauncher
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
"""
DEFINITIONS = """
from pathlib import Path
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.build_definitions import build_definitions

defs = build_definitions(Lake(Path({root!r})))
"""
REFUSED = {"architecture": "cnn_lstm", "max_epochs": 1, "windows_per_epoch": 32, "device": "cpu"}
STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
    status error { message } } } }"""


@pytest.fixture
def raw_lake(tmp_path, working_directory, fill_raw, monkeypatch):
    """A lake with raw files only."""
    lake = Lake(tmp_path / "lake")
    monkeypatch.setenv(LAKE_VARIABLE, str(lake.root))
    fill_raw(lake)
    lake.dagster.mkdir()
    (lake.dagster / DAGSTER_CONFIG_FILE).write_text(IN_THIS_PROCESS)
    return lake


@pytest.fixture
def materialize_all(raw_lake, tmp_path, small_windows):
    """Clicks on "Materialize all", with settings that fit the tiny preparation; returns how the backfill ended."""
    definitions = tmp_path / "tiny_definitions.py"
    definitions.write_text(DEFINITIONS.format(root=str(raw_lake.root)))
    target = PythonFileTarget(str(definitions), attribute=None, working_directory=None, location_name="voltpipe")
    with ExitStack() as stack:
        instance = stack.enter_context(open_instance(raw_lake))
        register_raw_recordings(raw_lake, instance)
        workspace = stack.enter_context(create_test_daemon_workspace_context(target, instance))

        def ask(query, variables):
            result = execute_dagster_graphql(workspace.create_request_context(), query, variables)
            assert not result.errors
            return result.data

        def materialize_all(training):
            (location,) = workspace.create_request_context().code_locations
            (repository,) = location.get_repositories().values()
            ops = {"recording_split": {"config": small_windows}, "trained_forecaster": {"config": training}}
            parameters = {
                "assetSelection": [key.to_graphql_input() for key in repository.asset_graph.materializable_asset_keys],
                "partitionNames": recording_keys(instance),
                "runConfigData": {"ops": ops},
            }
            launched = ask(LAUNCH_PARTITION_BACKFILL_MUTATION, {"backfillParams": parameters})
            assert "backfillId" in launched["launchPartitionBackfill"], launched
            backfill = launched["launchPartitionBackfill"]["backfillId"]
            for _ in range(20):
                assert [error for error in execute_backfill_iteration(workspace, logging.getLogger()) if error] == []
                found = ask(STATUS, {"id": backfill})["partitionBackfillOrError"]
                if found["status"] not in ("REQUESTED", "FAILING"):
                    break
            runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
            assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
            materialized = set()
            for run in runs:
                materialized |= {key.path[-1] for key in run.asset_selection}
            assert materialized == {key.path[-1] for key in repository.asset_graph.materializable_asset_keys}
            return found["status"]

        yield materialize_all


def decided(lake):
    return PromotionValue.model_validate(read_json(value_path(lake, "champion_forecaster")))


def test_it_succeeds_with_a_refusal_and_with_a_promotion(raw_lake, materialize_all, good_training):
    assert materialize_all(REFUSED) == "COMPLETED_SUCCESS"
    assert decided(raw_lake) == PromotionValue(candidate="1", promoted=False, champion=None)
    assert not raw_lake.forecasts.exists()
    assert materialize_all(good_training) == "COMPLETED_SUCCESS"
    assert decided(raw_lake) == PromotionValue(candidate="2", promoted=True, champion="2")
    assert len(list(raw_lake.forecasts.rglob("*.parquet"))) == 6
