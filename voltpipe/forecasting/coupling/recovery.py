"""Compares an estimated coupling with the truth, which only simulated recordings have."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from voltpipe.forecasting.coupling.coupling import Coupling, SenderType


@dataclass(frozen=True)
class Recovery:
    """How much of the true connectivity was found, over all pairs of different channels that could be measured."""

    auroc: float
    """The chance that a connected pair gets a higher probability than an unconnected one (Mann-Whitney; ties half)."""
    average_precision: float
    """The precision at each connected pair's rank, averaged: the area under the precision-recall curve."""
    sign_accuracy: float
    """The share of connected pairs whose weight has the true sign."""
    senders_named: float
    """The share of senders that were called what they are."""


def recovery(coupling: Coupling, true_weights_mv: Float[Tensor, "sender receiver"]) -> Recovery:
    """Compare with true weights, zero where there is no connection."""
    measured = torch.isfinite(coupling.standard_error_mv)
    connected = true_weights_mv[measured] != 0
    signs_agree = coupling.weights_mv.sign() == true_weights_mv.sign()
    row_sums_mv = true_weights_mv.sum(1).tolist()
    true_types = [SenderType.EXCITATORY if total_mv > 0 else SenderType.INHIBITORY for total_mv in row_sums_mv]
    named = [found is true for found, true in zip(coupling.sender_types, true_types, strict=True)]
    return Recovery(
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
