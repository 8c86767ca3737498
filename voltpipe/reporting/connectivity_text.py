"""Sentences and small tables about the estimated connectivity."""

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from voltpipe.evaluation.connectivity_scores import (
    COUPLING,
    ConnectivityAgreement,
    ConnectivitySummary,
    mean_agreement,
    summarize_connectivity,
)
from voltpipe.evaluation.connectivity_table import LIKELY
from voltpipe.evaluation.labels import forecaster_label
from voltpipe.forecasting.connectivity.connectivity import SenderType
from voltpipe.forecasting.forecast_module import EstimatesCoupling
from voltpipe.forecasting.module_registry import MODULES
from voltpipe.forecasting.settings import Architecture
from voltpipe.reporting.score_tables import markdown_table

N_STRONGEST = 10


def connectivity_verdict(found: Sequence[ConnectivitySummary], architecture: str) -> str:
    """Sum up connections, sender types and agreement with the truth; without an estimate, say why there is none."""
    if not found:
        return _missing_reason(architecture)
    agreement = mean_agreement(found)
    return f"{_counts(found)} {_accuracy(agreement) if agreement else 'The true connections are unknown.'}"


def comparison_table(agreement: ConnectivityAgreement) -> pd.DataFrame:
    """Return AUROC and AUPRC (columns) of the estimated coupling and of each measure of spike trains (rows)."""
    rows = {name: (ranking.auroc, ranking.average_precision) for name, ranking in agreement.rankings.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["AUROC", "AUPRC"])


def strongest_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the likely connections with the largest weights, as text; names the organoid if there are several."""
    likely = table[table["probability"] > LIKELY]
    strongest = likely.loc[likely["weight_mv"].abs().nlargest(N_STRONGEST).index]
    several = table["organoid"].nunique() > 1
    names = strongest["sender"] + " → " + strongest["receiver"]
    return pd.DataFrame(
        {
            "weight (mV)": strongest["weight_mv"].map("{:+.2f}".format),
            "this pair alone, 95 % CI (mV)": [
                f"{low:+.2f} to {high:+.2f}" if low == low else "not measured"
                for low, high in zip(strongest["low_mv"], strongest["high_mv"], strict=True)
            ],
            "probability": strongest["probability"].map("{:.3f}".format),
        }
    ).set_index(strongest["organoid"] + ": " + names if several else names)


def connectivity_text(table: pd.DataFrame, architecture: str) -> str:
    """Return verdict, agreement with the truth and strongest connections in Markdown."""
    found = summarize_connectivity(table)
    parts = [connectivity_verdict(found, architecture)]
    agreement = mean_agreement(found)
    if agreement:
        parts.append(markdown_table(comparison_table(agreement).map("{:.4f}".format)))
    strongest = strongest_table(table)
    if len(strongest):
        parts.append(markdown_table(strongest))
    return "\n\n".join(parts)


def _counts(found: Sequence[ConnectivitySummary]) -> str:
    n_pairs = found[0].n_channels * (found[0].n_channels - 1)
    n_connections = fmean(summary.n_connections for summary in found)
    senders = (f"{fmean(summary.senders[kind] for summary in found):,.0f} {kind.value}" for kind in SenderType)
    average = f"Mean of {len(found)} organoids: " if len(found) > 1 else ""
    return (
        f"{average}{n_connections:,.0f} of {n_pairs:,} pairs of channels are connected. Senders: {', '.join(senders)}."
    )


def _accuracy(agreement: ConnectivityAgreement) -> str:
    ranking = agreement.rankings[COUPLING]
    return (
        f"Compared with the simulated network: AUROC {ranking.auroc:.4f}, AUPRC {ranking.average_precision:.4f}. "
        f"The sign is correct for {agreement.sign_accuracy:.1%} of the connections, the type for "
        f"{agreement.senders_named:.1%} of the senders."
    )


def _missing_reason(architecture: str) -> str:
    label = forecaster_label(architecture)
    if architecture != Architecture.LAGGED_CNN_LSTM and not issubclass(MODULES[architecture], EstimatesCoupling):
        return f"There is no connectivity estimate: {label} does not estimate coupling between channels."
    return "There is no connectivity estimate: the voltage of these recordings shows no spikes."
