"""Puts a candidate before the gate, beside the present champion on the candidate's own held-out targets."""

from voltpipe.evaluation.evaluate import evaluate
from voltpipe.evaluation.evaluation import Evaluation, EvaluationError
from voltpipe.forecasting.forecaster import ForecasterError
from voltpipe.tracking.gate import GateDecision, decide
from voltpipe.tracking.registry import MODEL_NAME, champion, load_forecaster
from voltpipe.tracking.settings import GateSettings
from voltpipe.tracking.store import TrackingStore
from voltpipe.windows.window_set import WindowSet


def judge(
    store: TrackingStore, version: str, candidate: Evaluation, window_set: WindowSet, settings: GateSettings
) -> GateDecision:
    """Decide whether a registered version becomes champion. The champion itself is judged against its baselines only.

    Args:
        store: where versions are registered.
        version: the candidate's version.
        candidate: the candidate's scores on `window_set`.
        window_set: the held-out targets on which both are scored.
        settings: margin and horizons.
    """
    present = champion(store)
    if present is None or present.version == version:
        return decide(candidate, None, settings)
    try:
        scores, _ = evaluate(load_forecaster(present.uri, store), window_set, {})
    except (EvaluationError, ForecasterError) as error:
        reason = (
            f"the champion, version {present.version}, cannot be scored on the same targets: {error}; until then, "
            f"forecast with {MODEL_NAME}/{version}"
        )
        return GateDecision(False, (reason,), {})
    return decide(candidate, scores, settings)
