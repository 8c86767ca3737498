"""Versions and aliases of the registered forecaster."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from voltpipe.forecasting.forecaster_files import CONFIG_FILE
from voltpipe.lake.files import file_digest
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import champion, load_forecaster, training_run_id, version_tags
from voltpipe.tracking.promotion import apply_decision
from voltpipe.tracking.promotion_reasons import NoScoresByRecording, PublishedProtocol
from voltpipe.tracking.promotion_rules import PromotionDecision

pytestmark = pytest.mark.slow


def test_a_registered_forecaster_is_a_challenger_with_card_tags_and_run(store, run, new_version, aliases):
    registered = new_version()
    version = store.client.get_model_version("voltage-forecaster", registered.version)
    assert version.description == "weight 0.5"
    assert version.tags["device"] == "cpu"
    assert version.run_id == run.run_id
    assert aliases() == {"challenger": "1"}
    assert champion(store) is None


def test_the_page_of_a_model_names_its_version(store, run, new_version):
    new_version()
    [model] = store.client.search_logged_models([store.experiment_id])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "voltage-forecaster", "version": "1"}]


def test_a_store_that_was_moved_or_copied_uses_its_own_artifacts(
    store, run, new_version, promote, history_mv, tmp_path
):
    promote(store, new_version().version)
    run.store.client.log_text(run.run_id, "then", "note.txt")
    before = file_digest(store.folder / "artifacts")
    copy = TrackingStore(shutil.copytree(store.folder, tmp_path / "elsewhere [1]" / "mlflow"))
    copied = next((copy.folder / "artifacts").rglob("note.txt"))
    assert copy.client.get_run(run.run_id).info.artifact_uri == copied.parent.as_uri()
    copy.client.log_text(copy.client.create_run(copy.experiment_id).info.run_id, "now", "note.txt")
    assert sorted(path.read_text() for path in (copy.folder / "artifacts").rglob("note.txt")) == ["now", "then"]
    assert file_digest(store.folder / "artifacts") == before
    aside = store.folder.rename(tmp_path / "aside")
    assert load_forecaster("voltage-forecaster@champion", copy).predict_mv(history_mv)[0, 0, 0] == -55.0
    moved = TrackingStore(shutil.move(copy.folder, tmp_path / "moved" / "mlflow"))
    assert load_forecaster("voltage-forecaster@champion", moved).predict_mv(history_mv)[0, 0, 0] == -55.0
    aside.rename(store.folder)


def test_artifacts_outside_the_lake_stay_there_when_the_lake_moves(store, tmp_path):
    store.client.create_experiment("voltpipe", artifact_location="s3://bucket/mlflow/artifacts")
    moved = TrackingStore(shutil.copytree(store.folder, tmp_path / "moved" / "mlflow"))
    (moved.folder / "artifacts").mkdir(exist_ok=True)
    assert moved.client.get_experiment(moved.experiment_id).artifact_location == "s3://bucket/mlflow/artifacts"


def test_registering_again_after_a_crash_creates_no_second_version(store, new_version):
    assert new_version() == new_version()
    assert len(store.client.search_model_versions("name = 'voltage-forecaster'")) == 1


def test_a_promotion_makes_the_former_champion_previous(store, new_version, promote, aliases):
    for weight in (0.5, 0.6):
        promote(store, new_version(weight).version)
    assert aliases() == {"champion": "2", "previous": "1"}
    assert champion(store).version == "2"


def test_promoting_the_champion_again_changes_nothing(store, new_version, promote, aliases):
    first, second = new_version(0.5), new_version(0.6)
    promote(store, first.version)
    promote(store, second.version)
    promote(store, second.version)
    assert aliases() == {"champion": "2", "previous": "1"}


def test_registering_the_champion_again_does_not_make_it_challenger(store, new_version, promote, aliases):
    promote(store, new_version().version)
    assert new_version().version == "1"
    assert aliases() == {"champion": "1"}


def test_a_refused_version_stays_challenger_with_the_reason_in_its_tags(store, new_version, promote, aliases):
    promote(store, new_version(0.5).version)
    refused = new_version(0.1)
    worse = PromotionDecision(False, (PublishedProtocol(), NoScoresByRecording()), against="1")
    apply_decision(store, refused.version, worse, who="a test")
    assert aliases() == {"champion": "1", "challenger": "2"}
    tags = version_tags(store, "2")
    assert tags["gate.decision"] == "refused"
    assert tags["gate.reason"] == worse.reason
    assert tags["gate.codes"] == "published-protocol, scores-by-recording-missing"


@pytest.mark.parametrize(
    "uri", ["models:/voltage-forecaster@champion", "voltage-forecaster@champion", "voltage-forecaster/1"]
)
def test_a_forecaster_is_loaded_by_alias_or_version(store, new_version, history_mv, uri, promote):
    promote(store, new_version().version)
    assert load_forecaster(uri, store).predict_mv(history_mv)[0, 0].tolist() == [-55.0, -60.0, -62.0]


def test_a_forecaster_is_loaded_from_a_folder(forecaster, history_mv, tmp_path):
    forecaster.save(tmp_path / "saved")
    loaded = load_forecaster(str(tmp_path / "saved"))
    np.testing.assert_array_equal(loaded.predict_mv(history_mv), forecaster.predict_mv(history_mv))


def test_the_error_for_a_missing_champion_lists_the_versions(store, new_version):
    with pytest.raises(TrackingError, match=r"voltage-forecaster@champion .*'voltpipe train'") as refused:
        load_forecaster("voltage-forecaster@champion", store)
    assert refused.value.code == "version-not-registered"
    new_version()
    with pytest.raises(TrackingError, match=r"\(versions: 1\)"):
        load_forecaster("voltage-forecaster@champion", store)


def test_a_champion_deleted_by_hand_is_not_loaded(store, new_version, promote):
    promote(store, new_version().version)
    store.client.delete_model_version("voltage-forecaster", "1")
    assert champion(store) is None
    with pytest.raises(TrackingError, match="version 1") as refused:
        load_forecaster("voltage-forecaster@champion", store)
    assert refused.value.code == "champion-lost"


def test_the_error_for_deleted_files_names_their_folder(store, new_version, promote):
    promote(store, new_version().version)
    shutil.rmtree(store.folder / "artifacts")
    with pytest.raises(TrackingError, match="artifacts") as refused:
        load_forecaster("voltage-forecaster@champion", store)
    assert refused.value.code == "version-files-missing"


def test_a_malformed_uri_is_refused(store, tmp_path):
    (tmp_path / "empty").mkdir()
    for uri in ("champion", "https://example.org/model", str(tmp_path / "empty")):
        with pytest.raises(TrackingError, match=f"'voltage-forecaster@champion'.*{CONFIG_FILE}") as refused:
            load_forecaster(uri, store)
        assert refused.value.code == "forecaster-uri-malformed"


def test_a_forecaster_is_loaded_from_any_working_directory(
    store, new_version, history_mv, tmp_path, monkeypatch, promote
):
    promote(store, new_version().version)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    load_forecaster("voltage-forecaster@champion", store)
    assert list(Path.cwd().iterdir()) == []


def test_the_training_run_of_a_version_is_found(store, run, new_version, promote):
    promote(store, new_version().version)
    for uri in ("voltage-forecaster@champion", "models:/voltage-forecaster/1"):
        assert training_run_id(uri, store) == run.run_id
    assert training_run_id("voltage-forecaster@nobody", store) is None
    assert training_run_id("some/folder/with/files", store) is None
