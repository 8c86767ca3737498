"""Connectivity statistics: how much was found, and how accurate it is if the truth is known."""

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


@dataclass(frozen=True)
class ConnectivityAccuracy:
    """Accuracy of the estimated connectivity over all measurable pairs of different channels."""

    auroc: float
    """The chance that a connected pair gets a higher probability than an unconnected one (Mann-Whitney; ties half)."""
    average_precision: float
    """The precision at each connected pair's rank, averaged: the area under the precision-recall curve."""
    sign_accuracy: float
    """The share of connected pairs whose weight has the true sign."""
    senders_named: float
    """The share of senders that were called what they are."""


def connectivity_accuracy(
    coupling: Connectivity, true_weights_mv: Float[Tensor, "sender receiver"]
) -> ConnectivityAccuracy:
    """Compare with true weights, zero where there is no connection."""
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


def auroc(score: Float[Tensor, " pair"], connected: Bool[Tensor, " pair"]) -> float:
    """The chance that a connected pair scores higher than an unconnected one (Mann-Whitney; ties half)."""
    others = score[~connected].sort().values
    below, up_to = (torch.searchsorted(others, score[connected], right=right).double() for right in (False, True))
    return float((below + up_to).mean() / 2 / len(others))


def average_precision(score: Float[Tensor, " pair"], connected: Bool[Tensor, " pair"]) -> float:
    """The precision at each connected pair's rank, averaged. Pairs of equal score are taken together."""
    found = score[connected].sort().values
    everything = score.sort().values
    n_found, n_taken = (
        len(values) - torch.searchsorted(values, found, right=False).double() for values in (found, everything)
    )
    return float((n_found / n_taken).mean())


COUPLING = "coupling"


@dataclass(frozen=True)
class PairRanking:
    """Ranking of connected against unconnected pairs by one measure."""

    auroc: float
    """The chance that a connected pair ranks above an unconnected one."""
    average_precision: float
    """The area under the precision-recall curve."""


@dataclass(frozen=True)
class ConnectivityAgreement:
    """Agreement of the estimate with the truth over all measurable pairs."""

    rankings: Mapping[str, PairRanking]
    """Rankings by name: of the coupling, and of measures that use spike trains alone."""
    sign_accuracy: float
    """The share of connected pairs whose weight has the true sign."""
    senders_named: float
    """The share of senders that were called what they are."""


@dataclass(frozen=True)
class ConnectivitySummary:
    """Connectivity that was found in one organoid."""

    organoid: str
    n_channels: int
    n_connections: int
    """Pairs that are more likely connected than not."""
    senders: Mapping[SenderType, int]
    """Number of channels by sender type."""
    agreement: ConnectivityAgreement | None
    """None where the truth is not known."""


def summarize_connectivity(table: pd.DataFrame) -> tuple[ConnectivitySummary, ...]:
    """One for each organoid of a connectivity table."""
    return tuple(_summary(str(organoid), pairs) for organoid, pairs in table.groupby("organoid"))


def connectivity_metrics(found: Sequence[ConnectivitySummary]) -> dict[str, float]:
    """Figures under their MLflow names, each a mean over organoids.

    They are `connectivity/connections`, and where the truth of all is known `connectivity/auroc`,
    `connectivity/average_precision`, `connectivity/sign_accuracy` and `connectivity/senders_named`.
    """
    if not found:
        return {}
    figures = {"connections": fmean(each.n_connections for each in found)}
    known = mean_agreement(found)
    if known:
        figures |= vars(known.rankings[COUPLING])
        figures |= {"sign_accuracy": known.sign_accuracy, "senders_named": known.senders_named}
    return {f"connectivity/{name}": value for name, value in figures.items()}


def mean_agreement(found: Sequence[ConnectivitySummary]) -> ConnectivityAgreement | None:
    """The mean over organoids; None where the truth of one is not known."""
    known = [each.agreement for each in found if each.agreement]
    if not known or len(known) < len(found):
        return None
    return ConnectivityAgreement(
        rankings={
            name: PairRanking(
                fmean(each.rankings[name].auroc for each in known),
                fmean(each.rankings[name].average_precision for each in known),
            )
            for name in known[0].rankings
        },
        sign_accuracy=fmean(each.sign_accuracy for each in known),
        senders_named=fmean(each.senders_named for each in known),
    )


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
    # As strings: an enumeration's member is not what a column of a table holds.
    true_types = (true_sums_mv > 0).map({True: SenderType.EXCITATORY.value, False: SenderType.INHIBITORY.value})
    named = pairs.groupby("sender")["sender_type"].first() == true_types
    signs_agree = np.sign(connected["weight_mv"]) == np.sign(connected["true_weight_mv"])
    return ConnectivityAgreement(dict(_rankings(measured)), float(signs_agree.mean()), float(named.mean()))


def _rankings(measured: pd.DataFrame) -> Iterator[tuple[str, PairRanking]]:
    # Where a tiling is below zero, the sender keeps the receiver from spiking: no less a connection.
    scores = {
        COUPLING: measured["probability"],
        "cross-correlogram": measured["correlogram_z"],
        "spike time tiling": measured["tiling"].abs(),
    }
    is_connected = torch.from_numpy(measured["is_connected_truth"].to_numpy(bool, copy=True))
    for name, score in scores.items():
        values = torch.from_numpy(score.to_numpy(copy=True))
        yield name, PairRanking(auroc(values, is_connected), average_precision(values, is_connected))
