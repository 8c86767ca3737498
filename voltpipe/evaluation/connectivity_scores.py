"""Scores of estimated connectivity: its extent, and its accuracy where the truth is known."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from voltpipe.evaluation.connectivity_table import LIKELY
from voltpipe.forecasting.connectivity.connectivity import Connectivity, SenderType

COUPLING = "coupling"


@dataclass(frozen=True)
class ConnectivityAccuracy:
    """Accuracy of estimated connectivity, over all measured pairs of different channels."""

    auroc: float
    """Probability that a connected pair ranks above an unconnected one (Mann-Whitney; ties count half)."""
    average_precision: float
    """Mean precision at the ranks of connected pairs, which is the area under the precision-recall curve."""
    sign_accuracy: float
    """Share of connected pairs whose weight has the true sign."""
    senders_named: float
    """Share of senders whose type (excitatory or inhibitory) is right."""


@dataclass(frozen=True)
class PairRanking:
    """Separation of connected from unconnected pairs by one measure."""

    auroc: float
    """Probability that a connected pair ranks above an unconnected one."""
    average_precision: float
    """Area under the precision-recall curve."""


@dataclass(frozen=True)
class ConnectivityAgreement:
    """Agreement of estimated connectivity with the truth, over all measured pairs."""

    rankings: Mapping[str, PairRanking]
    """Rankings by the coupling and by measures of spike trains alone, by name."""
    sign_accuracy: float
    """Share of connected pairs whose weight has the true sign."""
    senders_named: float
    """Share of senders whose type (excitatory or inhibitory) is right."""


@dataclass(frozen=True)
class ConnectivitySummary:
    """Summary of the connectivity of one organoid."""

    organoid: str
    n_channels: int
    n_connections: int
    """Number of pairs that are more likely connected than not."""
    senders: Mapping[SenderType, int]
    """Number of channels of each sender type."""
    agreement: ConnectivityAgreement | None
    """Agreement with the truth; None if the truth is unknown."""


def connectivity_accuracy(
    coupling: Connectivity, true_weights_mv: Float[Tensor, "sender receiver"]
) -> ConnectivityAccuracy:
    """Compare estimated connectivity with the true weights in mV, which are zero where there is no connection."""
    measured = torch.isfinite(coupling.standard_error_mv)
    connected = true_weights_mv[measured] != 0
    signs_agree = coupling.weights_mv.sign() == true_weights_mv.sign()
    row_sums_mv = true_weights_mv.sum(1).tolist()
    true_types = [SenderType.EXCITATORY if total_mv > 0 else SenderType.INHIBITORY for total_mv in row_sums_mv]
    named = [found is true for found, true in zip(coupling.sender_types, true_types, strict=True)]
    return ConnectivityAccuracy(
        auroc=auroc(coupling.probability[measured], connected),
        average_precision=average_precision(coupling.probability[measured], connected),
        sign_accuracy=float(signs_agree[measured][connected].float().mean()),
        senders_named=sum(named) / len(named),
    )


def summarize_connectivity(table: pd.DataFrame) -> tuple[ConnectivitySummary, ...]:
    """Summarize each organoid of a connectivity table."""
    return tuple(_summary(str(organoid), pairs) for organoid, pairs in table.groupby("organoid"))


def connectivity_metrics(summaries: Sequence[ConnectivitySummary]) -> dict[str, float]:
    """Return means over organoids by MLflow metric name.

    The names are `connectivity/connections` and, if the truth of all organoids is known, `connectivity/auroc`,
    `connectivity/average_precision`, `connectivity/sign_accuracy` and `connectivity/senders_named`.
    """
    if not summaries:
        return {}
    metrics = {"connections": fmean(summary.n_connections for summary in summaries)}
    agreement = mean_agreement(summaries)
    if agreement:
        metrics |= vars(agreement.rankings[COUPLING])
        metrics |= {"sign_accuracy": agreement.sign_accuracy, "senders_named": agreement.senders_named}
    return {f"connectivity/{name}": value for name, value in metrics.items()}


def mean_agreement(summaries: Sequence[ConnectivitySummary]) -> ConnectivityAgreement | None:
    """Return the mean agreement over organoids; None if the truth of any organoid is unknown."""
    agreements = [summary.agreement for summary in summaries if summary.agreement]
    if not agreements or len(agreements) < len(summaries):
        return None
    return ConnectivityAgreement(
        rankings={
            name: PairRanking(
                fmean(agreement.rankings[name].auroc for agreement in agreements),
                fmean(agreement.rankings[name].average_precision for agreement in agreements),
            )
            for name in agreements[0].rankings
        },
        sign_accuracy=fmean(agreement.sign_accuracy for agreement in agreements),
        senders_named=fmean(agreement.senders_named for agreement in agreements),
    )


def auroc(score: Float[Tensor, " pair"], connected: Bool[Tensor, " pair"]) -> float:
    """Return the probability that a connected pair scores above an unconnected one (Mann-Whitney; ties count half)."""
    others = score[~connected].sort().values
    below, up_to = (torch.searchsorted(others, score[connected], right=right).double() for right in (False, True))
    return float((below + up_to).mean() / 2 / len(others))


def average_precision(score: Float[Tensor, " pair"], connected: Bool[Tensor, " pair"]) -> float:
    """Return the mean precision at the ranks of connected pairs. Pairs of equal score share a rank."""
    found = score[connected].sort().values
    everything = score.sort().values
    n_found, n_taken = (
        len(values) - torch.searchsorted(values, found, right=False).double() for values in (found, everything)
    )
    return float((n_found / n_taken).mean())


def _summary(organoid: str, pairs: pd.DataFrame) -> ConnectivitySummary:
    sender_types = pairs.groupby("sender")["sender_type"].first()
    counts = sender_types.value_counts()
    return ConnectivitySummary(
        organoid=organoid,
        n_channels=len(sender_types),
        n_connections=int((pairs["probability"] > LIKELY).sum()),
        senders={kind: int(counts.get(kind.value, 0)) for kind in SenderType},
        agreement=_agreement(pairs) if pairs["is_connected_truth"].notna().all() else None,
    )


def _agreement(pairs: pd.DataFrame) -> ConnectivityAgreement:
    measured = pairs[pairs["standard_error_mv"].notna()]
    connected = measured[measured["is_connected_truth"].astype(bool)]
    true_sums_mv = pairs.groupby("sender")["true_weight_mv"].sum()
    # The column of a table holds strings, not members of the enumeration.
    true_types = (true_sums_mv > 0).map({True: SenderType.EXCITATORY.value, False: SenderType.INHIBITORY.value})
    named = pairs.groupby("sender")["sender_type"].first() == true_types
    signs_agree = np.sign(connected["weight_mv"]) == np.sign(connected["true_weight_mv"])
    return ConnectivityAgreement(dict(_rankings(measured)), float(signs_agree.mean()), float(named.mean()))


def _rankings(measured: pd.DataFrame) -> Iterator[tuple[str, PairRanking]]:
    # A negative tiling means that the sender keeps the receiver from spiking, which is a connection too.
    scores = {
        COUPLING: measured["probability"],
        "cross-correlogram": measured["correlogram_z"],
        "spike time tiling": measured["tiling"].abs(),
    }
    is_connected = torch.from_numpy(measured["is_connected_truth"].to_numpy(bool, copy=True))
    for name, score in scores.items():
        values = torch.from_numpy(score.to_numpy(copy=True))
        yield name, PairRanking(auroc(values, is_connected), average_precision(values, is_connected))
