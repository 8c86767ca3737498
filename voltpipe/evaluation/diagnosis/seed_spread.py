"""Check of whether a forecaster's lead could be the luck of its seed."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from voltpipe.evaluation.diagnosis.honesty import HonestyCheck
from voltpipe.evaluation.evaluation import Evaluation

SEED_SPREAD = "seed_spread"
_OF_A_RUN = frozenset({"seed", "epochs", "best_epoch", "stopped_because", "elapsed_s", "resumed_after_epoch"})
"""What may differ between two trainings with the same settings."""
_SPREADS = 2.0


def seed_spread(evaluation: Evaluation, others: Iterable[Evaluation]) -> HonestyCheck:
    """Is the lead over the best baseline more than twice the SD over seeds, at the shortest horizon?

    Args:
        evaluation: that of the forecaster in question.
        others: evaluations of any forecasters; those count that differ in their seed alone. Without any, the check
            passes and says that the spread is not known.
    """
    regime, horizon = evaluation.regimes[0], evaluation.horizons[0]

    def r2_of(one: Evaluation) -> float:
        return one.score(one.forecaster, regime, horizon).r2

    baselines = [evaluation.find_score(name, regime, horizon) for name in evaluation.baselines]
    lead = r2_of(evaluation) - max((score.r2 for score in baselines if score), default=0.0)
    like = {_seed(one): r2_of(one) for one in others if _apart_from_seed(one) == _apart_from_seed(evaluation)}
    like[_seed(evaluation)] = r2_of(evaluation)
    if len(like) < 2:
        finding = (
            f"it leads the best baseline by {lead:+.3f} R2; how much of that another seed would change is not known, "
            "as no other training here differs from this one in its seed alone (`voltpipe train --seed`)"
        )
        return HonestyCheck(SEED_SPREAD, True, finding, 0.0)
    spread = float(np.std(list(like.values()), ddof=1))
    passed = abs(lead) > _SPREADS * spread
    meaning = "that is not the seed" if passed else "that may be no more than the seed"
    finding = (
        f"it leads the best baseline by {lead:+.3f} R2, and {len(like)} seeds differ by {spread:.4f} (SD): {meaning}"
    )
    return HonestyCheck(SEED_SPREAD, passed, finding, spread)


def _seed(evaluation: Evaluation) -> Any:
    return evaluation.provenance.settings["training"].get("seed")


def _apart_from_seed(evaluation: Evaluation) -> dict[str, Any]:
    settings = dict(evaluation.provenance.settings)
    training = {name: value for name, value in settings.pop("training").items() if name not in _OF_A_RUN}
    return {"windows_of": evaluation.provenance.window_set_digest, "training": training, **settings}
