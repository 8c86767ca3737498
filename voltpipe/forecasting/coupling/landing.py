"""Judges from the voltages of its receivers whether the effect of a spike has already reached them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

_ROUNDS = 2


def share_under_way(
    spikes: Bool[Tensor, "batch time channel"],
    innovations_mv: Float[Tensor, "batch step channel"],
    is_free: Bool[Tensor, "batch step channel"],
    coupling_mv: Float[Tensor, "network sender receiver"],
    *,
    innovation_variance_mv2: Float[Tensor, ""],
    landed_log_odds: Float[Tensor, ""],
) -> Float[Tensor, "batch time channel"]:
    """For each spike of one sample ago, the probability that its effect is still to come; zero elsewhere.

    A delay that is no whole number of samples leaves open in which of two samples an effect arrives, but all receivers
    of a sender have it in the same. So their innovations are weighed together (Bayes' rule, with normal innovations of
    one variance), less what the other spikes are expected to have done (mean-field approximation, a few rounds of it).

    Args:
        spikes: the samples in which spikes are first seen.
        innovations_mv: of the step from each sample to the next.
        is_free: which steps tell anything; innovations of the others are zero.
        coupling_mv: what a spike of each sender does; of each window's network, or of the one that all windows are of.
        innovation_variance_mv2: of free steps.
        landed_log_odds: that an effect arrives with the sample after its spike, before any receiver is looked at.
    """
    receivers_of, free = coupling_mv.mT, is_free.to(coupling_mv.dtype)
    squares_mv2 = free @ receivers_of.square()
    first = spikes[:, :-1].to(coupling_mv.dtype)
    landed = torch.sigmoid(landed_log_odds).expand_as(first)
    for _ in range(_ROUNDS):
        arriving = first * landed + pad((first * (1 - landed))[:, :-1], (0, 0, 1, 0))
        unexplained_mv = innovations_mv - arriving @ coupling_mv * free
        # What the sender itself is expected to have done explains nothing away from it.
        evidence_mv2 = unexplained_mv @ receivers_of + (landed - 0.5) * squares_mv2
        landed = torch.sigmoid(landed_log_odds + evidence_mv2 / innovation_variance_mv2)
    return pad(first * (1 - landed), (0, 0, 1, 0))
