"""Sentences and small tables about what forecasts depend on."""

import pandas as pd

from voltpipe.evaluation.connectivity_scores import COUPLING as FOUND
from voltpipe.evaluation.connectivity_scores import mean_agreement, summarize_connectivity
from voltpipe.evaluation.interpretation.ablations import COUPLING, HISTORY
from voltpipe.evaluation.interpretation.attribution import OTHERS, OWN, RANDOM, TRAINED, Method
from voltpipe.evaluation.interpretation.channel_influence import (
    INFLUENCE,
    ON_ITSELF,
    ON_OTHERS,
    UNTRAINED,
    influence_auroc,
)
from voltpipe.evaluation.interpretation.interpretation import Interpretation
from voltpipe.evaluation.interpretation.sanity_check import MAX_CORRELATION, rank_correlation
from voltpipe.evaluation.isolation import Failure, attempt
from voltpipe.evaluation.labels import duration_label, forecaster_label
from voltpipe.evaluation.results import Evaluation
from voltpipe.forecasting.architectures.causal_base import CausalModule
from voltpipe.forecasting.module_registry import MODULES
from voltpipe.reporting.page import finding

TOO_FEW_WINDOWS = (
    "Not analyzed: too few windows were held out. The analysis compares each window with two others of the same "
    "recording that share no sample with it."
)
NEGLIGIBLE_R2 = 1e-3
"""R2 below which a loss is called negligible."""

_ABLATIONS = {
    COUPLING: "the other channels",
    ON_ITSELF: "one channel (loss of that channel)",
    ON_OTHERS: "one channel (loss of the others)",
}


def ablation_text(table: pd.DataFrame, rate_hz: float) -> str:
    """Sum up the R2 that is lost without the other channels, and which part of the history is negligible."""
    coupling, history = (table[table["ablation"] == kind] for kind in (COUPLING, HISTORY))
    sentences = [_coupling_text(coupling, rate_hz)] if len(coupling) else []
    sentences += [_history_text(history)] if len(history) else []
    return " ".join(sentences) or "There is a single channel with a short history, so no input can be left out."


def _coupling_text(coupling: pd.DataFrame, rate_hz: float) -> str:
    if not coupling["r2_lost"].any():
        return "Each channel is forecast from its own history only: leaving out the others changes nothing."
    first, most = coupling.iloc[0], coupling.loc[coupling["r2_lost"].idxmax()]
    if most["r2_lost"] <= 0:
        effect = "make forecasts worse" if most["high"] < 0 else "do not improve forecasts"
        return (
            f"The other channels {effect}: leaving them out costs {_lost(first, rate_hz)}; a negative cost is a gain."
        )
    more = f", and at most {_lost(most, rate_hz)}" if _signed(most["r2_lost"]) != _signed(first["r2_lost"]) else ""
    moved = dict.fromkeys(_signed(row["r2_moved"]) for row in (first, most))
    return (
        f"Leaving out the other channels costs {_lost(first, rate_hz)}{more}. The amount by which they "
        f"change the forecasts predicts a loss of {' and '.join(moved)}."
    )


def _history_text(history: pd.DataFrame) -> str:
    cost = history.assign(at_most=history["high"].fillna(history["r2_lost"])).groupby("kept_ms")["at_most"].max()
    negligible_ms = cost.index[cost.iloc[::-1].cummax().iloc[::-1] <= NEGLIGIBLE_R2]
    if not len(negligible_ms):
        return (
            f"The whole history may matter: leaving out samples older than {cost.index[-1]:g} ms may cost up to "
            f"{cost.iloc[-1]:.2g} of R²."
        )
    return (
        f"Leaving out samples older than {negligible_ms[0]:g} ms costs less than {NEGLIGIBLE_R2:g} of R² at every "
        "horizon."
    )


def ablation_rows(table: pd.DataFrame, rate_hz: float) -> pd.DataFrame:
    """Return R2 lost by omitted input (rows) and some horizons (columns), as text with half the 95 % interval."""
    names = [
        _ABLATIONS.get(ablation, f"all but the last {kept_ms:g} ms")
        for ablation, kept_ms in zip(table["ablation"], table["kept_ms"], strict=True)
    ]
    cells = table.assign(name=names, cell=[_cell(row) for _, row in table.iterrows()])
    cells = cells[cells["horizon"].isin(some_horizons(table["horizon"]))]
    rows = cells.pivot(index="name", columns="horizon", values="cell").reindex(dict.fromkeys(names))
    return rows.rename(columns=lambda horizon: duration_label(int(horizon), rate_hz))


def some_horizons(horizons: "pd.Series[int]") -> list[int]:
    """Return the shortest, a middle and the longest horizon."""
    known = sorted(int(horizon) for horizon in horizons.unique())
    return sorted({known[0], known[len(known) // 2], known[-1]})


def attribution_text(table: pd.DataFrame, architecture: str, rate_hz: float) -> str:
    """Name the method and its reason, the part of the history that counts most, and the share of other channels."""
    integrated = table[(table["method"] == Method.INTEGRATED_GRADIENTS.value) & (table["weights"] == TRAINED)]
    missed = float(integrated["missed"].max())
    best = best_attribution(table)
    if (best["method"] == Method.OCCLUSION.value).all():
        method = _occlusion_reason(architecture, missed)
    else:
        method = (
            f"Attribution by integrated gradients, which explain all but {missed:.1%} of the differences between "
            "forecasts."
        )
    first = best[best["horizon"] == best["horizon"].min()]
    by_source = first.groupby("source")["attribution_mv"].sum()
    total = float(by_source.sum())
    if not total:
        return f"{method} The forecasts do not depend on the input."
    most = first.loc[first["attribution_mv"].idxmax()]
    source = "of the channel itself" if most["source"] == OWN else "of the other channels"
    others = (
        f" The other channels receive {by_source.get(OTHERS, 0) / total:.0%} of the attribution."
        if OTHERS in by_source
        else ""
    )
    return (
        f"{method} {duration_label(int(first['horizon'].iloc[0]), rate_hz)} ahead, the samples {source} from "
        f"{most['from_ms']:.3g} to {most['to_ms']:.3g} ms ago count most.{others}{_order_text(table)}"
    )


def _occlusion_reason(architecture: str, missed: float) -> str:
    reason = (
        "gradients do not pass through its lookup table or its spike detection"
        if issubclass(MODULES[architecture], CausalModule)
        else "its forecasts do not change smoothly with the input"
    )
    return (
        f"Integrated gradients leave {missed:.0%} of the forecasts of {forecaster_label(architecture)} unexplained: "
        f"{reason}. Attribution therefore uses occlusion: parts of the history are replaced by samples of another time."
    )


def best_attribution(table: pd.DataFrame, weights: str = TRAINED) -> pd.DataFrame:
    """Select the rows of the method in use: occlusion if available, else integrated gradients."""
    of_weights = table[table["weights"] == weights]
    occluded = of_weights[of_weights["method"] == Method.OCCLUSION.value]
    return occluded if len(occluded) else of_weights


def _order_text(table: pd.DataFrame) -> str:
    """Compare the ranking of the parts of the history with that of random weights; empty if either is constant."""
    trained, random = (
        rows.loc[rows["horizon"] == table["horizon"].min(), "attribution_mv"].to_numpy()
        for rows in (best_attribution(table, weights) for weights in (TRAINED, RANDOM))
    )
    correlation = rank_correlation(trained, random)
    if correlation is None:
        return ""
    conclusion = (
        "was not learned: random weights give nearly the same one"
        if correlation > MAX_CORRELATION
        else "was learned: random weights give a different one"
    )
    return f" This ranking of the history {conclusion} (rank correlation {correlation:.2f})."


def influence_text(influence: pd.DataFrame, rankings: pd.DataFrame | None) -> str:
    """Name the strongest influence between channels, and say whether influence reveals the true connections."""
    if influence.empty:
        return "There is only one channel, so no influence between channels."
    if not influence["influence_mv"].any():
        return "No forecast depends on the history of another channel: no interaction between channels was learned."
    strong = influence.loc[influence["influence_mv"].idxmax()]
    strongest = (
        f"The strongest influence in {strong['organoid']} is that of {strong['sender']} on {strong['receiver']}: "
        f"replacing the history of {strong['sender']} changes the forecast of {strong['receiver']} by "
        f"{strong['influence_mv']:.2g} mV (root mean square)."
    )
    if rankings is None:
        return f"{strongest} The true connections are unknown."
    return (
        f"{strongest} Influence identifies connected pairs with an AUROC of {rankings.loc[INFLUENCE, 'AUROC']:.3f} "
        f"({rankings.loc[UNTRAINED, 'AUROC']:.3f} with random weights, 0.5 by chance)."
    )


def rankings_table(influence: pd.DataFrame, connectivity: pd.DataFrame) -> pd.DataFrame | None:
    """Return the AUROC of influence, coupling and spike statistics (rows); None if the truth is unknown."""
    found = influence_auroc(influence)
    if found is None:
        return None
    rows = dict(found)
    agreement = mean_agreement(summarize_connectivity(connectivity))
    if agreement:
        rows |= {
            "estimated coupling" if name == FOUND else name: ranking.auroc
            for name, ranking in agreement.rankings.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["AUROC"])


def filter_text(responses: pd.DataFrame, architecture: str) -> str:
    """Count the filters of the first convolution by the frequency that they pass best."""
    if responses.empty:
        return f"{forecaster_label(architecture)} has no convolution over time."
    best = responses.loc[responses.groupby("filter")["gain_db"].idxmax(), "frequency_hz"]
    highest_hz = float(responses["frequency_hz"].max())
    low_hz, high_hz = highest_hz / 4, 3 * highest_hz / 4
    n_low, n_high = int((best <= low_hz).sum()), int((best >= high_hz).sum())
    return (
        f"Of {len(best)} temporal filters, {n_low} pass low frequencies best (below {low_hz:g} Hz), {n_high} high "
        f"frequencies (above {high_hz:g} Hz), and {len(best) - n_low - n_high} those in between."
    )


def _lost(row: pd.Series, rate_hz: float) -> str:
    interval = "" if pd.isna(row["low"]) else f" (95 % CI {_signed(row['low'])} to {_signed(row['high'])})"
    return f"{_signed(row['r2_lost'])}{interval} of R² {duration_label(int(row['horizon']), rate_hz)} ahead"


def _cell(row: pd.Series) -> str:
    half_width = "" if pd.isna(row["low"]) else f" ± {row['high'] - row['r2_lost']:.4f}"
    return f"{_signed(row['r2_lost'], 4)}{half_width}"


def _signed(value: float, digits: int = 3) -> str:
    rounded = round(value, digits) or 0.0  # avoid "-0"
    return f"{rounded:.{digits}f}".replace("-", "−")  # noqa: RUF001


def interpretation_section(
    evaluation: Evaluation, interpretation: Interpretation, connectivity: pd.DataFrame
) -> dict[str, object]:
    """Return texts and small tables by name; those about filters only, if too few windows were held out."""
    architecture, rate_hz = evaluation.forecaster, evaluation.provenance.rate_hz
    failed, ablations = interpretation.failed, interpretation.ablations
    filters = "filters" if "filters" in failed else "responses"
    section: dict[str, object] = {
        "is_available": interpretation.asked,
        "finding": TOO_FEW_WINDOWS,
        "filters": finding(failed, filters, lambda: filter_text(interpretation.responses, architecture)),
    }
    if not interpretation.asked:
        return section
    rankings = attempt(lambda: rankings_table(interpretation.influence, connectivity))
    known = None if isinstance(rankings, Failure) else rankings
    rows = attempt(lambda: ablation_rows(ablations, rate_hz))
    attribution = interpretation.attribution
    return section | {
        "finding": finding(failed, "ablations", lambda: ablation_text(ablations, rate_hz)),
        "ablation_rows": None if isinstance(rows, Failure) else rows,
        "attribution": finding(failed, "attribution", lambda: attribution_text(attribution, architecture, rate_hz)),
        "influence": finding(failed, "influence", lambda: influence_text(interpretation.influence, known)),
        "rankings": known,
        "sanity": interpretation.sanity,
    }
