"""Unpromised behavior of Dagster and MLflow that voltpipe relies on; docs/upgrading.md lists it."""

import ast
import inspect
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import mlflow
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.storage import tags as dagster_tags
from dagster_graphql.schema import create_schema
from mlflow.utils import mlflow_tags

import voltpipe
from voltpipe.cli.servers import _LOCATIONS, _UNREACHABLE
from voltpipe.lake.paths import Lake
from voltpipe.pipeline import partitions, retraining_requests, runs
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.tracking.mlflow_store import _PLACES, TrackingStore
from voltpipe.tracking.run_lifecycle import PARENT_TAG
from voltpipe.tracking.tracked_run import SPLIT_TAG

pytestmark = pytest.mark.slow

PACKAGE = Path(voltpipe.__file__).parent
PUBLIC_MLFLOW = {
    "mlflow",
    *(f"mlflow.{name}" for name in ("artifacts", "entities", "exceptions", "models", "pyfunc", "types")),
    "mlflow.entities.model_registry",
}
INNER_MLFLOW = {
    "mlflow.db",
    "mlflow.store.artifact.artifact_repository_registry",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.utils.mlflow_tags",
}


@pytest.fixture(scope="module")
def pages():
    """The program of MLflow's pages, as served to browsers."""
    (script,) = Path(mlflow.__file__).parent.joinpath("server/js/build/static/js").glob("main.*.js")
    return script.read_text(encoding="utf-8")


def imported(library):
    """Every module of a library that a file of the package imports, at its top or inside a function."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
            elif isinstance(node, ast.Import):
                found |= {each.name for each in node.names}
    return {name for name in found if name.split(".")[0] == library}


def test_no_private_module_of_dagster_is_imported():
    assert imported("dagster") == {"dagster"}


def test_only_listed_modules_of_mlflow_are_imported():
    assert imported("mlflow") <= PUBLIC_MLFLOW | INNER_MLFLOW


def test_dagster_keeps_the_names_of_its_run_tags(tmp_path):
    definitions = build_definitions(Lake(tmp_path / "lake"))
    (schedule,) = definitions.schedules
    (sensor,) = (each for each in definitions.sensors if each.name == "retraining")
    assert dg.DagsterRun.tags_for_sensor(sensor) == {runs.SENSOR_TAG: "retraining"}
    assert dg.DagsterRun.tags_for_schedule(schedule) == {runs.SCHEDULE_TAG: "nightly_retraining"}
    assert partitions.RANGE_START_TAG == dagster_tags.ASSET_PARTITION_RANGE_START_TAG
    assert partitions.RANGE_END_TAG == dagster_tags.ASSET_PARTITION_RANGE_END_TAG
    assert partitions._PARTITION_TAG == dagster_tags.PARTITION_NAME_TAG
    assert retraining_requests._PRIORITY.keys() == {dagster_tags.PRIORITY_TAG}


def test_a_run_can_be_ended_from_outside():
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.job(name="waits")(lambda: None)
        failed, canceled = (instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED) for _ in range(2))
        instance.add_run_tags(failed.run_id, {"voltpipe/progress": "epoch 1"})
        instance.report_run_failed(failed, "its process is gone")
        instance.report_run_canceled(canceled, "it was interrupted")
        instance.event_log_storage.free_concurrency_slots_for_run(failed.run_id)
        ended = [instance.get_run_by_id(run.run_id) for run in (failed, canceled)]
    assert [run.status for run in ended] == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    assert ended[0].tags["voltpipe/progress"] == "epoch 1"


def test_an_input_names_the_run_that_made_it():
    runs = []

    class Remembers(dg.IOManager):
        def handle_output(self, context, obj):
            runs.append(context.run_id)

        def load_input(self, context):
            runs.append(context.upstream_output.run_id)

    @dg.asset
    def first():
        return 1

    @dg.asset
    def second(first):
        return 2

    result = dg.materialize([first, second], resources={"io_manager": Remembers()})
    assert runs == [result.run_id] * 3


def test_graphql_answers_the_queries_of_the_code_server_check():
    schema = create_schema()
    assert DagsterUserCodeUnreachableError.__name__ == _UNREACHABLE
    queries = _LOCATIONS, 'mutation { reloadRepositoryLocation(repositoryLocationName: "voltpipe") { __typename } }'
    for query in queries:
        errors = schema.execute(query).errors  # there is no workspace behind it, but each field is known
        assert not any("Cannot query field" in error.message for error in errors or ())
    assert schema.execute("{ noSuchField }").errors


def test_mlflow_keeps_the_inner_modules_that_are_imported(tmp_path):
    from mlflow.db import upgrade
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    uri, artifacts = f"sqlite:///{tmp_path / 'mlflow.db'}", (tmp_path / "artifacts").as_uri()
    upgrade.main([uri], standalone_mode=False)
    SqlAlchemyStore(uri, artifacts)
    client = mlflow.MlflowClient(uri)
    assert client.get_experiment("0").artifact_location.startswith(artifacts)
    assert get_artifact_repository(artifacts, tracking_uri=uri, registry_uri=uri).list_artifacts() == []
    assert mlflow_tags.MLFLOW_LOGGED_ARTIFACTS == "mlflow.loggedArtifacts"
    assert {"artifact_file", "run_ids"} <= inspect.signature(mlflow.load_table).parameters.keys()


def test_mlflow_keeps_the_names_of_its_tags(pages):
    assert mlflow_tags.MLFLOW_PARENT_RUN_ID == PARENT_TAG
    assert mlflow_tags.MLFLOW_DATASET_CONTEXT == SPLIT_TAG
    named = {value for name, value in vars(mlflow_tags).items() if name.startswith("MLFLOW")}
    used = set()
    for path in (PACKAGE / "tracking").rglob("*.py"):
        used |= set(re.findall(r'"(mlflow\.(?!db")[\w.]+)"', path.read_text()))
    assert {"mlflow.note.content", "mlflow.source.name"} <= used
    assert all(name in pages for name in used - named)


def test_mlflow_keeps_artifact_paths_in_the_columns_that_are_rewritten_for_a_moved_lake(tmp_path):
    store = TrackingStore(tmp_path / "mlflow")
    store.prepare()
    with closing(sqlite3.connect(store.folder / "mlflow.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {(table, row[1]) for table in tables for row in connection.execute(f"PRAGMA table_info({table})")}
    assert set(_PLACES) <= columns
    places = {each for each in columns if re.search("artifact|storage_location|^source$", each[1])}
    assert {each for each in places - set(_PLACES) if each[1].endswith(("_location", "_uri"))} == set()


@pytest.mark.parametrize(
    "route",
    [
        "/experiments/:experimentId/runs/:runUuid",
        "/experiments/:experimentId/runs/:runUuid/*",
        "/models/:modelName/versions/:version",
    ],
)
def test_the_pages_of_mlflow_keep_their_addresses(route, pages):
    assert f'"{route}"' in pages
