"""Review of a candidate: scores beside the champion on the candidate's held-out targets, then the decision."""

from dataclasses import replace

from voltpipe.evaluation.evaluate import evaluate
from voltpipe.evaluation.evaluation import Evaluation, EvaluationError
from voltpipe.evaluation.held_out import held_out_digests
from voltpipe.forecasting.forecaster import Forecaster, ForecasterError
from voltpipe.tracking.gate import GateDecision, Rule, decide
from voltpipe.tracking.lineage import lineages
from voltpipe.tracking.promotion import ChampionMovedError, rolled_back, settle
from voltpipe.tracking.promotion_reasons import ChampionNotScored, RolledBack
from voltpipe.tracking.registry import MODEL_NAME, RegisteredForecaster, in_use, known_version, load_forecaster
from voltpipe.tracking.settings import GateSettings
from voltpipe.tracking.store import TrackingStore
from voltpipe.tracking.targets import Targets, choose_targets
from voltpipe.windows.window_set import WindowSet


def judge(
    store: TrackingStore, version: str, candidate: Evaluation, window_set: WindowSet, settings: GateSettings
) -> GateDecision:
    """Decide whether a registered version becomes champion. The champion itself only has to beat its baselines.

    Args:
        store: where versions are registered.
        version: the candidate's version.
        candidate: the candidate's scores on `window_set`.
        window_set: the held-out targets on which both are scored.
        settings: margins and bounds.
    """
    if by_hand := rolled_back(store, version):
        reason = RolledBack(by_hand.who, by_hand.at_utc.date(), by_hand.why)
        return GateDecision(False, (reason,), frozenset({Rule.NOT_ROLLED_BACK}), against=_version(in_use(store)))
    present = in_use(store)
    if present is None or present.version == version:
        return replace(decide(candidate, None, Targets(frozenset(), frozenset()), settings), against=_version(present))
    try:
        forecaster = load_forecaster(present.uri, store)
        scores, _ = evaluate(forecaster, window_set, {})
    except (EvaluationError, ForecasterError) as error:
        not_scored = ChampionNotScored(present.version, str(error), error.code, f"{MODEL_NAME}/{version}")
        return GateDecision(False, (not_scored,), frozenset({Rule.BEATS_CHAMPION}), against=present.version)
    targets = _targets(store, version, present, forecaster, window_set, settings)
    return replace(decide(candidate, scores, targets, settings), against=present.version)


def put_before_gate(
    store: TrackingStore,
    version: str,
    candidate: Evaluation,
    window_set: WindowSet,
    settings: GateSettings,
    *,
    who: str,
) -> GateDecision:
    """Decide as `judge` does and apply the decision. Decide again if another version became champion meanwhile."""
    while True:
        decision = judge(store, version, candidate, window_set, settings)
        try:
            settle(store, version, decision, who=who)
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
    settings: GateSettings,
) -> Targets:
    regime, digests = held_out_digests(forecaster, window_set)
    candidate = known_version(store, version)
    return choose_targets(
        digests,
        lineages(store, present.run_id),
        lineages(store, candidate.run_id if candidate else None),
        regime,
        window_set.settings.time_fraction,
        fresh_recordings=settings.fresh_recordings,
    )
