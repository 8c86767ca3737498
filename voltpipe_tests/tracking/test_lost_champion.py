"""A champion's version that somebody deleted in MLflow."""

from dataclasses import replace

import pytest

from voltpipe.tracking.audit_log import AuditLog
from voltpipe.tracking.mlflow_store import TrackingError
from voltpipe.tracking.model_registry import (
    LostChampionWarning,
    champion,
    load_forecaster,
    lost_champion,
    serving_version,
)
from voltpipe.tracking.promotion import apply_decision, roll_back
from voltpipe.tracking.promotion_reasons import NoChampion
from voltpipe.tracking.promotion_rules import PromotionDecision
from voltpipe.tracking.settings import ChampionSettings, WithoutChampion

URI = "voltage-forecaster@champion"


@pytest.fixture
def lost(store, new_version, promote):
    """Version 1 was champion; version 2 is, and is deleted."""
    for weight in (0.5, 0.6):
        promote(store, new_version(weight).version)
    assert lost_champion(store) is None
    store.client.delete_model_version("voltage-forecaster", "2")
    return store


def test_the_one_before_forecasts_with_a_warning(lost, history_mv):
    assert (lost_champion(lost), champion(lost), serving_version(lost).version) == ("2", None, "1")
    with pytest.warns(LostChampionWarning, match=r"version 2\b.*\bVersion 1\b.*voltpipe rollback"):
        forecaster = load_forecaster(URI, lost)
    assert forecaster.predict_mv(history_mv)[0, 0, 0] == pytest.approx(-55)


def test_or_nothing_forecasts_if_that_is_set(lost):
    with pytest.raises(TrackingError, match=r"version 2\b.*version 1\b.*voltpipe rollback") as refused:
        load_forecaster(URI, lost, ChampionSettings(without_champion=WithoutChampion.REFUSE))
    assert refused.value.code == "champion-fallback-forbidden"


def test_nothing_forecasts_where_none_was_champion_before(lost):
    lost.client.delete_model_version("voltage-forecaster", "1")
    with pytest.raises(TrackingError, match=r"version 2\b.*voltpipe rollback") as refused:
        load_forecaster(URI, lost)
    assert refused.value.code == "champion-lost"


def test_a_roll_back_ends_it(lost):
    roll_back(lost, who="ada", why="2 was deleted")
    assert (champion(lost).version, lost_champion(lost)) == ("1", None)
    assert AuditLog.of(lost).entries()[-1].champion_before == "2"
    assert load_forecaster(URI, lost)


def test_the_gate_compares_with_the_one_before(lost, new_version, aliases):
    third = new_version(0.7)
    apply_decision(lost, third.version, replace(PromotionDecision(True, (NoChampion(),)), against="1"), who="ada")
    assert champion(lost).version == third.version
    assert aliases() == {"champion": "3", "previous": "1"}
