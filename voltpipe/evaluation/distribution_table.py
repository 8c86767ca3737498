"""What a predictive distribution is worth, as a table of text."""

from collections.abc import Callable

from voltpipe.evaluation.distribution_score import DistributionScore, SpikeScore
from voltpipe.evaluation.evaluation import Evaluation
from voltpipe.evaluation.regimes import Regime

_REFERENCE = "look_up"
_SHOWN = (50, 80, 95)
_UNKNOWN = ""

Cell = Callable[[DistributionScore], str]


def distribution_table(evaluation: Evaluation, regime: Regime) -> dict[str, list[str]]:
    """Rows by name, a cell a horizon; empty if the forecaster has no predictive distribution.

    The look-up's distribution, what followed the present voltage, stands beside it.
    """
    own = evaluation.forecaster
    if not any(score.forecaster == own for score in evaluation.distributions):
        return {}
    rows: dict[str, tuple[str, Cell]] = {"CRPS (mV)": (own, lambda score: f"{score.crps_mv:#.3g}")}
    has_reference = any(score.forecaster == _REFERENCE for score in evaluation.distributions) and own != _REFERENCE
    if has_reference:
        rows["CRPS of the look-up (mV)"] = (_REFERENCE, rows["CRPS (mV)"][1])
    for percent in _SHOWN:
        rows[f"truths inside the {percent} % interval"] = (own, _coverage(percent))
    rows["mean width of the 80 % interval (mV)"] = (own, lambda score: f"{score.width_mv[80]:#.3g}")
    if any(score.spikes for score in evaluation.distributions if score.forecaster == own):
        rows["targets with a spike"] = (own, _of_spikes(lambda spikes: f"{spikes.rate:.1%}"))
        rows["AUC of the chance of a spike"] = (own, _of_spikes(lambda spikes: f"{spikes.auc:.3f}"))
        if has_reference:
            rows["AUC of the look-up"] = (_REFERENCE, rows["AUC of the chance of a spike"][1])
        rows["Brier score"] = (own, _of_spikes(lambda spikes: f"{spikes.brier:#.3g}"))
    return {
        name: [
            cell(score) if (score := evaluation.find_distribution(forecaster, regime, horizon)) else _UNKNOWN
            for horizon in evaluation.horizons
        ]
        for name, (forecaster, cell) in rows.items()
    }


def _coverage(percent: int) -> Cell:
    return lambda score: f"{score.coverage[percent]:.1%}"


def _of_spikes(cell: Callable[[SpikeScore], str]) -> Cell:
    return lambda score: cell(score.spikes) if score.spikes else _UNKNOWN
