"""Judges all measured effects together: which pairs are connected, and which senders excite or inhibit.

A sender either excites or inhibits whomever it reaches (Dale's principle). What is measured of a pair that is not
connected scatters about zero, that of a connected one about a mean that all senders of a type have in common. Means,
spreads and shares of connected pairs are found by expectation maximisation, so neither a threshold nor anything about
the network has to be given.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

_ITERATIONS = 50
_CLEAR_SE = 4.0
"""The search begins with the pairs whose effect is that many standard errors off zero."""
_MAD_OF_NORMAL = 0.6745


@dataclass(frozen=True)
class Posterior:
    """What is to be thought of each pair and each sender."""

    weights_mv: Float[Tensor, "sender receiver"]
    """The expected effect of one spike; zero where nothing was measured."""
    probability: Float[Tensor, "sender receiver"]
    """That the pair is connected; zero where nothing was measured."""
    excitatory: Float[Tensor, " sender"]
    """The probability that a sender is excitatory rather than inhibitory; a half where nothing tells."""


def posterior(
    measured_mv: Float[Tensor, "sender receiver"], standard_error_mv: Float[Tensor, "sender receiver"]
) -> Posterior:
    """Weigh measured effects against their errors and against each other.

    Args:
        measured_mv: what one spike of the sender does to the receiver.
        standard_error_mv: infinite where nothing could be measured.
    """
    seen = torch.isfinite(standard_error_mv)
    evidence = _Evidence(
        torch.where(seen, measured_mv, 0.0).double(), torch.where(seen, standard_error_mv, 1.0).double() ** 2, seen
    )
    mixture = _Mixture.beginning(evidence)
    for _ in range(_ITERATIONS):
        mixture = mixture.improved(evidence)
    of_type, connected = mixture.responsibilities(evidence)
    belongs = of_type[..., None] * connected
    trust = mixture.variances / (mixture.variances + evidence.error_variance)
    shrunk_mv = mixture.means_mv + trust * (evidence.measured_mv - mixture.means_mv)
    return Posterior((belongs * shrunk_mv).sum(0).float(), belongs.sum(0).float(), of_type[0].float())


@dataclass(frozen=True)
class _Evidence:
    measured_mv: Float64[Tensor, "sender receiver"]
    error_variance: Float64[Tensor, "sender receiver"]
    seen: Bool[Tensor, "sender receiver"]


@dataclass(frozen=True)
class _Mixture:
    """The distributions of effects, before what measuring adds. The first type excites, the second inhibits."""

    means_mv: Float64[Tensor, "2 1 1"]
    variances: Float64[Tensor, "2 1 1"]
    connected_share: Float64[Tensor, "2 1 1"]
    unconnected_variance: Float64[Tensor, ""]

    @classmethod
    def beginning(cls, evidence: _Evidence) -> "_Mixture":
        """From the pairs that stand out, on a scatter that is taken from the middle of all pairs."""
        measured_mv, seen = evidence.measured_mv, evidence.seen
        error_mv = evidence.error_variance.sqrt()
        excess = ((measured_mv / error_mv)[seen].abs().median() / _MAD_OF_NORMAL).clamp(min=1) if seen.any() else 1.0
        clear_mv = _CLEAR_SE * excess * error_mv
        types = torch.stack([measured_mv > clear_mv, measured_mv < -clear_mv]) & seen
        n_pairs = types.sum((1, 2), keepdim=True)
        mean_mv = (types * measured_mv).sum((1, 2), keepdim=True) / n_pairs.clamp(min=1)
        usual_mv = clear_mv.median() * torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]
        return cls(
            means_mv=torch.where(n_pairs > 0, mean_mv, usual_mv),
            variances=(usual_mv / _CLEAR_SE) ** 2,
            connected_share=(2 * n_pairs / seen.sum().clamp(min=1)).clamp(1e-6, 0.5).double(),
            unconnected_variance=((excess**2 - 1) * evidence.error_variance.median()),
        )

    def responsibilities(
        self, evidence: _Evidence
    ) -> tuple[Float64[Tensor, "2 sender"], Float64[Tensor, "2 sender receiver"]]:
        """How likely each sender is of each type, and each pair is connected if its sender is of that type."""
        connected = self.connected_share.log() + _log_normal(
            evidence.measured_mv - self.means_mv, self.variances + evidence.error_variance
        )
        unconnected = (-self.connected_share).log1p() + _log_normal(
            evidence.measured_mv, self.unconnected_variance + evidence.error_variance
        )
        of_row = (torch.logaddexp(connected, unconnected) * evidence.seen).sum(-1)
        return of_row.softmax(0), torch.sigmoid(connected - unconnected) * evidence.seen

    def improved(self, evidence: _Evidence) -> "_Mixture":
        """One step of expectation maximisation. A type with less than one connected pair stays as it is."""
        of_type, connected = self.responsibilities(evidence)
        share = of_type[..., None] * connected
        n_pairs = share.sum((1, 2), keepdim=True)
        n_possible = (of_type[..., None] * evidence.seen).sum((1, 2), keepdim=True)
        means_mv = (share * evidence.measured_mv).sum((1, 2), keepdim=True) / n_pairs.clamp(min=1)
        variances = _weighted_variance(evidence.measured_mv - means_mv, evidence.error_variance, share)
        apart = evidence.seen.double() - share.sum(0)
        return _Mixture(
            means_mv=torch.where(n_pairs > 1, means_mv, self.means_mv),
            variances=torch.where(n_pairs > 1, variances, self.variances),
            connected_share=(n_pairs / n_possible.clamp(min=1)).clamp(1e-6, 0.99),
            unconnected_variance=_weighted_variance(evidence.measured_mv, evidence.error_variance, apart).squeeze(),
        )


def _log_normal(deviation: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * (deviation**2 / variance + torch.log(2 * math.pi * variance))


def _weighted_variance(deviation_mv: Tensor, error_variance: Tensor, share: Tensor) -> Tensor:
    """The variance of deviations beyond what measuring adds."""
    beyond = (share * (deviation_mv**2 - error_variance)).sum((-2, -1), keepdim=True)
    return (beyond / share.sum((-2, -1), keepdim=True).clamp(min=1)).clamp(min=0)
