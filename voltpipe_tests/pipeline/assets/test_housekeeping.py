"""Expired items are deleted on request; everything that a version in use depends on is kept and still works."""

import json
import os
import shutil
import time
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from voltpipe.cli.main import main
from voltpipe.forecasting.training.checkpoint import hold_checkpoint_folder
from voltpipe.lake.files import file_digest
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.dagster_home import open_instance
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import MODEL_NAME, load_forecaster
from voltpipe.tracking.retention import protected_versions
from voltpipe.tracking.training_provenance import ORIGIN_FILE

NOTHING_IS_YOUNG = {"checkpoints_days": 0.5, "window_sets_days": 0.5, "versions_days": 0.0, "keep_versions": 1}


@pytest.fixture
def lake(materialized, tmp_path) -> Lake:
    """The lake moved elsewhere, a month later: the champion, and two more versions of the poor forecaster's files."""
    lake = Lake(shutil.copytree(materialized.closed_copy, tmp_path / "lake"))
    client = TrackingStore(lake.mlflow).client
    poor = client.get_model_version(MODEL_NAME, "2")
    client.create_model_version(MODEL_NAME, copied(poor.source), poor.run_id)
    client.create_model_version(MODEL_NAME, poor.source, poor.run_id)
    client.set_registered_model_alias(MODEL_NAME, "challenger", "4")
    for name in (
        "checkpoints/shared_cnn_lstm-old",
        "checkpoints/lstm-busy",
        "windows/set-old",
        "windows/.reproduce-old",
    ):
        folder = lake.root / name
        folder.mkdir()
        (folder / "weights").write_bytes(b"0" * 1000)
    outside = tmp_path / "outside"
    outside.mkdir()
    (lake.checkpoints / "link").symlink_to(outside)
    then = time.time() - 86_400
    for folder in (lake.checkpoints, lake.windows):
        for path in folder.rglob("*"):
            os.utime(path, (then, then), follow_symlinks=False)
    os.utime(outside, (then, then))
    return lake


def copied(model_uri: str) -> str:
    model = Path(model_uri.removeprefix("file://"))
    return shutil.copytree(model, model.parents[1] / "m-copy" / model.name).as_uri()


def tidy(lake: Lake, **settings) -> dict:
    with open_instance(lake) as instance:
        job = build_definitions(lake).resolve_job_def("tidy_lake")
        config = {"ops": {"tidied_lake": {"config": NOTHING_IS_YOUNG | settings}}}
        assert job.execute_in_process(config, instance=instance).success
        event = instance.get_latest_materialization_event(dg.AssetKey("tidied_lake"))
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def stored(lake: Lake) -> dict[str, str]:
    return {name: file_digest(lake.root / name) for name in ("checkpoints", "windows", "mlflow/artifacts", "reports")}


def test_a_dry_run_is_the_default_and_lists_what_would_be_deleted(lake):
    before = stored(lake)
    metadata = tidy(lake)
    assert metadata["dry_run"] is True
    for name in ("shared_cnn_lstm-old", "lstm-busy", "set-old", ".reproduce-old", f"{MODEL_NAME}/3"):
        assert f"| {name} |" in metadata["would be deleted"]
    assert (metadata["items"], metadata["size_bytes"] > 4000) == (6, True)
    assert metadata["never deleted"] == {"version 1": "is champion", "version 4": "is challenger"}
    assert stored(lake) == before


def test_the_champion_is_reproduced_after_everything_else_was_deleted(lake, monkeypatch):
    client = TrackingStore(lake.mlflow).client
    trained = {path.name for path in lake.checkpoints.iterdir() if (path / "forecaster").exists()}
    busy = lake.checkpoints / "lstm-busy"
    with hold_checkpoint_folder(busy):
        for path in (busy / "lock", busy):
            os.utime(path, (0, 0))
        metadata = tidy(lake, dry_run=False)
    assert metadata["kept because in use"] == "lstm-busy"
    assert "lstm-busy" not in metadata["deleted"]
    assert {path.name for path in lake.checkpoints.iterdir() if path.is_dir()} == trained | {"lstm-busy", "link"}
    assert [path.name for path in lake.windows.glob("*old")] == []
    versions = {str(version.version) for version in client.search_model_versions(f"name = '{MODEL_NAME}'")}
    assert versions == {"1", "4"}
    assert not (lake.mlflow / "artifacts" / "models" / "m-copy" / "artifacts").exists()
    assert load_forecaster(f"{MODEL_NAME}/4", TrackingStore(lake.mlflow)).config.architecture == "cnn_lstm"
    monkeypatch.setenv(LAKE_VARIABLE, str(lake.root))
    again = CliRunner().invoke(main, ["reproduce", "champion"], catch_exceptions=False)
    assert again.exit_code == 0, again.output


def test_a_version_from_which_one_in_use_began_is_never_deleted(lake):
    store = TrackingStore(lake.mlflow)
    champion = store.client.get_model_version(MODEL_NAME, "1")
    # Not by the client, which remembers a run's artifacts by its id alone, hence those of the lake that was copied.
    (path,) = (path for path in lake.mlflow.rglob(ORIGIN_FILE) if champion.run_id in path.parts)
    origin = json.loads(path.read_text())
    origin["training"]["begin_from"] = f"{MODEL_NAME}/2"
    path.write_text(json.dumps(origin))
    protected = protected_versions(store)
    assert protected.keys() == {"1", "2", "4"}
    assert (protected["1"], protected["4"]) == ("is champion", "is challenger")
    assert "version 1" in protected["2"]
    store.client.delete_registered_model_alias(MODEL_NAME, "champion")
    assert "lost" in protected_versions(store)["1"]
    tidy(lake, dry_run=False)
    assert load_forecaster(f"{MODEL_NAME}/2", store).config.architecture == "cnn_lstm"
