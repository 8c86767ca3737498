"""The promotion review in Dagster: its checks show the decision, and no click can bypass it."""

import dagster as dg
import pytest

from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.tracking.model_registry import champion, version_tags
from voltpipe.tracking.promotion_rules import PromotionRule

CHAMPION = dg.AssetKey("champion_forecaster")


@pytest.fixture(scope="module")
def materialized(materialized_copy):
    return materialized_copy


def test_materializing_only_the_champion_reviews_it_again_despite_passed_checks(materialized):
    for rule in PromotionRule:
        passed = dg.AssetCheckEvaluation(asset_key=CHAMPION, check_name=rule.value, passed=True, metadata={})
        materialized.instance.report_runless_asset_event(passed)
    job = build_definitions(materialized.lake).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=materialized.instance, asset_selection=[CHAMPION])
    assert result.success
    (decided,) = result.asset_materializations_for_node("champion_forecaster")
    assert (decided.metadata["decision"].value, decided.metadata["champion"].value) == ("refused", "1")
    assert champion(materialized.store).version == "1"
    assert version_tags(materialized.store, "2")["gate.decision"] == "refused"
    verdicts = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert verdicts == {
        rule: rule not in (PromotionRule.BEATS_BASELINES, PromotionRule.BEATS_CHAMPION) for rule in PromotionRule
    }
