"""What forecasts follow from, in plain words and small tables."""

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
from voltpipe.evaluation.interpretation.sanity_check import MOST_ALIKE, rank_correlation
from voltpipe.evaluation.isolation import Failure, attempt
from voltpipe.evaluation.labels import duration_label, forecaster_label
from voltpipe.evaluation.results import Evaluation
from voltpipe.forecasting.architectures.causal_base import CausalModule
from voltpipe.forecasting.module_registry import MODULES
from voltpipe.reporting.page import finding

NOT_ASKED = (
    "Not asked: too little was held out. Each window is compared with two others of the same recording that share no "
    "sample with it."
)
WORTH_NOTHING = 1e-3
"""R2 that is called nothing."""

_ABLATIONS = {
    COUPLING: "the other channels",
    ON_ITSELF: "one channel, for itself",
    ON_OTHERS: "one channel, for the others",
}


def ablation_text(table: pd.DataFrame, rate_hz: float) -> str:
    """What the other channels are worth, and what is worth nothing of the past."""
    coupling, history = (table[table["ablation"] == kind] for kind in (COUPLING, HISTORY))
    said = [_coupling_text(coupling, rate_hz)] if len(coupling) else []
    said += [_history_text(history)] if len(history) else []
    return " ".join(said) or "Too short a history of one channel alone: there is nothing to leave out."


def _coupling_text(coupling: pd.DataFrame, rate_hz: float) -> str:
    if not coupling["r2_lost"].any():
        return "Each channel is forecast by itself: without the others nothing changes."
    first, most = coupling.iloc[0], coupling.loc[coupling["r2_lost"].idxmax()]
    if most["r2_lost"] <= 0:
        misled = "mislead it" if most["high"] < 0 else "are worth nothing to it"
        return (
            f"The other channels {misled}: without them it loses {_lost(first, rate_hz)}; less than nothing is a gain."
        )
    more = f", and most {_lost(most, rate_hz)}" if _signed(most["r2_lost"]) != _signed(first["r2_lost"]) else ""
    moved = dict.fromkeys(_signed(each["r2_moved"]) for each in (first, most))
    return (
        f"Without the other channels it loses {_lost(first, rate_hz)}{more}. They move its forecasts as if they were "
        f"worth {' and '.join(moved)}."
    )


def _history_text(history: pd.DataFrame) -> str:
    worth = history.assign(at_most=history["high"].fillna(history["r2_lost"])).groupby("kept_ms")["at_most"].max()
    without_worth = worth.index[worth.iloc[::-1].cummax().iloc[::-1] <= WORTH_NOTHING]
    if not len(without_worth):
        return (
            f"Nothing that it is shown can be left out for certain: what lies more than {worth.index[-1]:g} ms back "
            f"may be worth up to {worth.iloc[-1]:.2g} of R²."
        )
    return (
        f"What lies more than {without_worth[0]:g} ms back is worth less than {WORTH_NOTHING:g} of R² at any horizon."
    )


def ablation_rows(table: pd.DataFrame, rate_hz: float) -> pd.DataFrame:
    """R2 lost by what is not known (rows) and some horizons (columns), as texts: with half the 95 % interval."""
    names = [
        _ABLATIONS.get(ablation, f"all but the last {kept_ms:g} ms")
        for ablation, kept_ms in zip(table["ablation"], table["kept_ms"], strict=True)
    ]
    cells = table.assign(name=names, cell=[_cell(row) for _, row in table.iterrows()])
    cells = cells[cells["horizon"].isin(some_horizons(table["horizon"]))]
    rows = cells.pivot(index="name", columns="horizon", values="cell").reindex(dict.fromkeys(names))
    return rows.rename(columns=lambda horizon: duration_label(int(horizon), rate_hz))


def some_horizons(horizons: "pd.Series[int]") -> list[int]:
    """The first, the last and one between."""
    known = sorted(int(horizon) for horizon in horizons.unique())
    return sorted({known[0], known[len(known) // 2], known[-1]})


def attribution_text(table: pd.DataFrame, architecture: str, rate_hz: float) -> str:
    """By which method, and why, and how much of a forecast goes back to the channel itself."""
    integrated = table[(table["method"] == Method.INTEGRATED_GRADIENTS.value) & (table["weights"] == TRAINED)]
    missed = float(integrated["missed"].max())
    label = forecaster_label(architecture)
    shown = shown_attribution(table)
    if (shown["method"] == Method.OCCLUSION.value).all():
        why = (
            "no gradient crosses its look-up of voltages or its recognition of spikes"
            if issubclass(MODULES[architecture], CausalModule)
            else "its forecasts do not change smoothly from one moment to another"
        )
        how = (
            f"Integrated gradients miss {missed:.0%} of what there is to explain in {label}: {why}. So samples were "
            "exchanged for those of another moment, part by part."
        )
    else:
        how = f"By integrated gradients, which add up to all but {missed:.1%} of the differences between forecasts."
    first = shown[shown["horizon"] == shown["horizon"].min()]
    by_source = first.groupby("source")["attribution_mv"].sum()
    total = float(by_source.sum())
    if not total:
        return f"{how} Its forecasts do not depend on what it is shown."
    most = first.loc[first["attribution_mv"].idxmax()]
    whose = "of the channel itself" if most["source"] == OWN else "of the other channels"
    others = (
        f" {by_source.get(OTHERS, 0) / total:.0%} of all attribution goes to other channels."
        if OTHERS in by_source
        else ""
    )
    return (
        f"{how} {duration_label(int(first['horizon'].iloc[0]), rate_hz)} ahead, what counts most are the samples "
        f"{most['from_ms']:.3g} to {most['to_ms']:.3g} ms back {whose}.{others}{_order_text(table)}"
    )


def shown_attribution(table: pd.DataFrame, weights: str = TRAINED) -> pd.DataFrame:
    """Of the method that is complete."""
    of_weights = table[table["weights"] == weights]
    occluded = of_weights[of_weights["method"] == Method.OCCLUSION.value]
    return occluded if len(occluded) else of_weights


def _order_text(table: pd.DataFrame) -> str:
    """Whether the order of the parts was learned."""
    trained, random = (shown_attribution(table, weights) for weights in (TRAINED, RANDOM))
    trained, random = (each[each["horizon"] == table["horizon"].min()] for each in (trained, random))
    alike = rank_correlation(trained["attribution_mv"].to_numpy(), random["attribution_mv"].to_numpy())
    if alike is None:
        return ""
    means = "is no finding: it is much the same" if alike > MOST_ALIKE else "was learned: it is another"
    return f" The order in which parts of the history count {means} with random weights (rank correlation {alike:.2f})."


def influence_text(influence: pd.DataFrame, rankings: pd.DataFrame | None) -> str:
    """Whether channels are heard, and whether those are that are connected."""
    if influence.empty:
        return "There is no other channel to hear."
    if not influence["influence_mv"].any():
        return "No forecast changes when another channel's history does: it was not learned who drives whom."
    strong = influence.loc[influence["influence_mv"].idxmax()]
    said = (
        f"The strongest influence in {strong['organoid']} is that of {strong['sender']} on {strong['receiver']}: "
        f"exchanging the former's history changes the forecast of the latter by {strong['influence_mv']:.2g} mV "
        "(root mean square)."
    )
    if rankings is None:
        return f"{said} The true connections are not known."
    return (
        f"{said} By influence alone, connected pairs are told from others with an AUROC of "
        f"{rankings.loc[INFLUENCE, 'AUROC']:.3f}; with random weights it is {rankings.loc[UNTRAINED, 'AUROC']:.3f}, "
        "where guessing has 0.5."
    )


def rankings_table(influence: pd.DataFrame, connectivity: pd.DataFrame) -> pd.DataFrame | None:
    """AUROC of finding the true connections by influence, and by what else is known; None where the truth is not."""
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
    """How many filters there are, and which frequencies they let through best."""
    if responses.empty:
        return f"In {forecaster_label(architecture)} there is no convolution over time."
    best = responses.loc[responses.groupby("filter")["gain_db"].idxmax(), "frequency_hz"]
    highest_hz = float(responses["frequency_hz"].max())
    counts = {
        "slow changes best": int((best <= highest_hz / 4).sum()),
        "fast ones": int((best >= 3 * highest_hz / 4).sum()),
    }
    between = len(best) - sum(counts.values())
    return (
        f"Of {len(best)} filters, {counts['slow changes best']} let slow changes through best (below "
        f"{highest_hz / 4:g} Hz), {counts['fast ones']} fast ones (above {3 * highest_hz / 4:g} Hz), {between} what "
        "lies between."
    )


def _lost(row: pd.Series, rate_hz: float) -> str:
    interval = "" if pd.isna(row["low"]) else f" (95 %: {_signed(row['low'])} to {_signed(row['high'])})"
    return f"{_signed(row['r2_lost'])}{interval} of R² {duration_label(int(row['horizon']), rate_hz)} ahead"


def _cell(row: pd.Series) -> str:
    reach = "" if pd.isna(row["low"]) else f" ± {row['high'] - row['r2_lost']:.4f}"
    return f"{_signed(row['r2_lost'], 4)}{reach}"


def _signed(value: float, digits: int = 3) -> str:
    rounded = round(value, digits) or 0.0  # never a minus before zero
    return f"{rounded:.{digits}f}".replace("-", "−")  # noqa: RUF001


def interpretation_section(
    evaluation: Evaluation, interpretation: Interpretation, connectivity: pd.DataFrame
) -> dict[str, object]:
    """Return texts and small tables by name; where too little was held out, what can be said of the filters alone."""
    architecture, rate_hz = evaluation.forecaster, evaluation.provenance.rate_hz
    failed, ablations = interpretation.failed, interpretation.ablations
    filters = "filters" if "filters" in failed else "responses"
    section: dict[str, object] = {
        "asked": interpretation.asked,
        "finding": NOT_ASKED,
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
