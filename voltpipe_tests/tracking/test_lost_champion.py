"""A champion whose version was deleted in MLflow."""

from dataclasses import replace

import pytest

from voltpipe.pipeline.launcher import Launcher
from voltpipe.tracking.audit_log import AuditLog
from voltpipe.tracking.lineage import BEGAN_FROM_TAG
from voltpipe.tracking.mlflow_store import TrackingError
from voltpipe.tracking.model_registry import (
    LostChampionWarning,
    champion,
    find_version,
    load_forecaster,
    lost_champion,
    newest_versions,
    resolve_alias,
    serving_version,
    training_run_id,
)
from voltpipe.tracking.promotion import apply_decision, roll_back
from voltpipe.tracking.promotion_reasons import NoChampion
from voltpipe.tracking.promotion_rules import PromotionDecision
from voltpipe.tracking.settings import ChampionSettings, WithoutChampion
from voltpipe.tracking.training_provenance import read_origin

URI = "voltage-forecaster@champion"


@pytest.fixture
def lost(slow_to_make, store, new_version, promote):
    """Make version 1 champion, then version 2, and delete version 2."""
    for weight in (0.5, 0.6):
        promote(store, new_version(weight).version)
    assert lost_champion(store) is None
    store.client.delete_model_version("voltage-forecaster", "2")
    return store


def test_the_previous_champion_forecasts_with_a_warning(lost, history_mv):
    assert (lost_champion(lost), champion(lost), serving_version(lost).version) == ("2", None, "1")
    with pytest.warns(LostChampionWarning, match=r"version 2\b.*\bVersion 1\b.*voltpipe rollback"):
        forecaster = load_forecaster(URI, lost)
    assert forecaster.predict_mv(history_mv)[0, 0, 0] == pytest.approx(-55)


def test_the_alias_is_resolved_to_the_version_that_is_loaded(lost, history_mv, run):
    with pytest.warns(LostChampionWarning):
        resolved = resolve_alias(URI, lost)
    assert resolved == "voltage-forecaster/1"
    assert load_forecaster(resolved, lost).predict_mv(history_mv)[0, 0, 0] == pytest.approx(-55)
    assert training_run_id(resolved, lost) == run.run_id


@pytest.mark.filterwarnings("ignore::voltpipe.tracking.model_registry.LostChampionWarning")
def test_a_training_that_begins_from_a_deleted_champion_logs_the_version_it_began_from(
    materialized_copy, promote, small_windows, good_training
):
    store = materialized_copy.store
    promote(store, "2")
    store.client.delete_model_version("voltage-forecaster", "2")
    training = {**good_training, "max_epochs": 1, "begin_from": URI}
    Launcher(materialized_copy.lake).train(split=small_windows, training=training)
    (newest,) = newest_versions(store, 1)
    assert read_origin(store, newest.run_id).training.begin_from == "voltage-forecaster/1"
    earlier = find_version(store, "1").run_id
    assert store.client.get_run(newest.run_id).data.tags[BEGAN_FROM_TAG] == earlier


def test_loading_and_resolving_are_both_refused_if_the_settings_forbid_a_replacement(lost):
    settings = ChampionSettings(without_champion=WithoutChampion.REFUSE)
    for use in (load_forecaster, resolve_alias):
        with pytest.raises(TrackingError) as refused:
            use(URI, lost, settings)
        assert refused.value.code == "champion-fallback-forbidden"


def test_a_champion_is_resolved_to_its_version_and_other_uris_stay_as_they_are(store, new_version, promote):
    promote(store, new_version().version)
    assert resolve_alias(f"models:/{URI}", store) == "voltage-forecaster/1"
    for uri in ("voltage-forecaster/7", "some/folder"):
        assert resolve_alias(uri, store) == uri


def test_nothing_forecasts_if_the_settings_forbid_a_replacement(lost):
    with pytest.raises(TrackingError, match=r"version 2\b.*version 1\b.*voltpipe rollback") as refused:
        load_forecaster(URI, lost, ChampionSettings(without_champion=WithoutChampion.REFUSE))
    assert refused.value.code == "champion-fallback-forbidden"


def test_nothing_forecasts_without_a_previous_champion(lost):
    lost.client.delete_model_version("voltage-forecaster", "1")
    with pytest.raises(TrackingError, match=r"version 2\b.*voltpipe rollback") as refused:
        load_forecaster(URI, lost)
    assert refused.value.code == "champion-lost"


def test_a_rollback_restores_the_previous_champion(lost):
    roll_back(lost, who="ada", why="2 was deleted")
    assert (champion(lost).version, lost_champion(lost)) == ("1", None)
    assert AuditLog.of(lost).entries()[-1].champion_before == "2"
    assert load_forecaster(URI, lost)


def test_a_candidate_is_compared_with_the_previous_champion(lost, new_version, aliases):
    third = new_version(0.7)
    apply_decision(lost, third.version, replace(PromotionDecision(True, (NoChampion(),)), against="1"), who="ada")
    assert champion(lost).version == third.version
    assert aliases() == {"champion": "3", "previous": "1"}
