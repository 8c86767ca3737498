"""Promotion review: the champion and a candidate are scored on the candidate's held-out targets, then decided on."""

from dataclasses import replace

from voltpipe.evaluation.held_out_windows import held_out_digests
from voltpipe.evaluation.results import Evaluation, EvaluationError
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.tracking.lineage import lineages
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import (
    MODEL_NAME,
    RegisteredForecaster,
    get_version,
    load_forecaster,
    serving_version,
)
from voltpipe.tracking.promotion import ChampionMovedError, apply_decision, rollback_target
from voltpipe.tracking.promotion_reasons import ChampionNotScored, RolledBack
from voltpipe.tracking.promotion_rules import (
    ComparisonSet,
    PromotionDecision,
    PromotionRule,
    choose_comparison_set,
    decide_promotion,
)
from voltpipe.tracking.settings import PromotionSettings
from voltpipe.windows.window_set import WindowSet


def score_candidate(
    store: TrackingStore, version: str, candidate: Evaluation, window_set: WindowSet, settings: PromotionSettings
) -> PromotionDecision:
    """Decide whether a registered version becomes champion. The present champion only has to beat the baselines.

    Args:
        store: the store in which versions are registered.
        version: the candidate's version.
        candidate: the candidate's scores on `window_set`.
        window_set: the window set with the held-out targets on which both are scored.
        settings: margins and bounds.
    """
    if rollback := rollback_target(store, version):
        reason = RolledBack(rollback.who, rollback.at_utc.date(), rollback.why)
        return PromotionDecision(
            False, (reason,), frozenset({PromotionRule.NOT_ROLLED_BACK}), against=_version(serving_version(store))
        )
    present = serving_version(store)
    if present is None or present.version == version:
        return replace(
            decide_promotion(candidate, None, ComparisonSet(frozenset(), frozenset()), settings),
            against=_version(present),
        )
    try:
        forecaster = load_forecaster(present.uri, store)
        scores, _ = score_forecaster(forecaster, window_set, {})
    except (EvaluationError, ForecasterError) as error:
        not_scored = ChampionNotScored(present.version, str(error), error.code, f"{MODEL_NAME}/{version}")
        return PromotionDecision(
            False, (not_scored,), frozenset({PromotionRule.BEATS_CHAMPION}), against=present.version
        )
    targets = _targets(store, version, present, forecaster, window_set, settings)
    return replace(decide_promotion(candidate, scores, targets, settings), against=present.version)


def review_candidate(
    store: TrackingStore,
    version: str,
    candidate: Evaluation,
    window_set: WindowSet,
    settings: PromotionSettings,
    *,
    who: str,
) -> PromotionDecision:
    """Decide like `score_candidate` and apply the decision; decide again if the champion changed in the meantime."""
    while True:
        decision = score_candidate(store, version, candidate, window_set, settings)
        try:
            apply_decision(store, version, decision, who=who)
        except ChampionMovedError:
            continue
        return decision


def _version(registered: RegisteredForecaster | None) -> str | None:
    return registered.version if registered else None


def _targets(
    store: TrackingStore,
    version: str,
    present: RegisteredForecaster,
    forecaster: Forecaster,
    window_set: WindowSet,
    settings: PromotionSettings,
) -> ComparisonSet:
    regime, digests = held_out_digests(forecaster, window_set)
    candidate = get_version(store, version)
    return choose_comparison_set(
        digests,
        lineages(store, present.run_id),
        lineages(store, candidate.run_id if candidate else None),
        regime,
        window_set.settings.time_fraction,
        fresh_recordings=settings.fresh_recordings,
    )
