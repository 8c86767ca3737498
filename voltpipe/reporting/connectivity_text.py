"""Who drives whom in words and small tables."""

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
    """How many connections were found, what channels send, and how right that is; or why nothing was found."""
    if not found:
        return _why_nothing(architecture)
    agreement = mean_agreement(found)
    return f"{_counts(found)} {_rightness(agreement) if agreement else 'The true connections are not known.'}"


def comparison_table(agreement: ConnectivityAgreement) -> pd.DataFrame:
    """A row for the coupling and each measure that goes by spike trains alone, columns AUROC and AUPRC."""
    rows = {name: (ranking.auroc, ranking.average_precision) for name, ranking in agreement.rankings.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["AUROC", "AUPRC"])


def strongest_table(table: pd.DataFrame) -> pd.DataFrame:
    """The likely connections with the largest weights, as texts; each organoid is named where there are several."""
    likely = table[table["probability"] > LIKELY]
    strongest = likely.loc[likely["weight_mv"].abs().nlargest(N_STRONGEST).index]
    several = table["organoid"].nunique() > 1
    names = strongest["sender"] + " → " + strongest["receiver"]
    return pd.DataFrame(
        {
            "weight (mV)": strongest["weight_mv"].map("{:+.2f}".format),
            "measured, 95 % (mV)": [
                f"{low:+.2f} to {high:+.2f}" if low == low else "not measured"
                for low, high in zip(strongest["low_mv"], strongest["high_mv"], strict=True)
            ],
            "probability": strongest["probability"].map("{:.3f}".format),
        }
    ).set_index(strongest["organoid"] + ": " + names if several else names)


def connectivity_text(table: pd.DataFrame, architecture: str) -> str:
    """All of it in Markdown."""
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
    n_connections = fmean(each.n_connections for each in found)
    senders = (f"{fmean(each.senders[kind] for each in found):,.0f} {kind.value}" for kind in SenderType)
    average = f"On average over {len(found)} organoids: " if len(found) > 1 else ""
    return (
        f"{average}{n_connections:,.0f} connections among {n_pairs:,} pairs of channels; senders: {', '.join(senders)}."
    )


def _rightness(agreement: ConnectivityAgreement) -> str:
    ranking = agreement.rankings[COUPLING]
    return (
        f"Against the network that was simulated: AUROC {ranking.auroc:.4f}, AUPRC {ranking.average_precision:.4f}, "
        f"the right sign for {agreement.sign_accuracy:.1%} of the connections, the right type for "
        f"{agreement.senders_named:.1%} of the senders."
    )


def _why_nothing(architecture: str) -> str:
    label = forecaster_label(architecture)
    if architecture != Architecture.LAGGED_CNN_LSTM and not issubclass(MODULES[architecture], EstimatesCoupling):
        return f"Nothing is said of who drives whom: {label} estimates no coupling of channels."
    return "Nothing is said of who drives whom: no spikes can be seen in the voltage of these recordings."
