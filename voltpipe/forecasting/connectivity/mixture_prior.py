"""What couplings have in common, from which a network that was seen for little time is judged.

A sender either excites or inhibits whomever it reaches (Dale's principle). What is measured of a pair that is not
connected scatters about zero, that of a connected one about a mean that all senders of a type have in common. Means,
spreads and shares of connected pairs are found by expectation maximisation over all networks there are, so neither a
threshold nor anything about a network has to be given.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

_ITERATIONS = 50
_CLEAR_SE = 4.0
"""The search begins with the pairs whose effect is that many standard errors off zero."""
_MAD_OF_NORMAL = 0.6745
_MOST_OF_ONE_TYPE = 0.9
"""So that a sender of which nothing is seen is not taken for one of the type that most are of."""
_UNSEEN_MV2 = 1e12


@dataclass(frozen=True)
class Posterior:
    """What is to be thought of each pair and each sender, given what was measured of them and the prior."""

    by_type_mv: Float[Tensor, "2 sender receiver"]
    """What one spike is expected to do as an excitatory sender's, and as an inhibitory one's; the sum is expected."""
    probability: Float[Tensor, "sender receiver"]
    """That the pair is connected."""
    excitatory: Float[Tensor, " sender"]
    """The probability that a sender is excitatory rather than inhibitory."""


@dataclass(frozen=True)
class CouplingPrior:
    """The distributions of effects, before what measuring adds. The first type excites, the second inhibits."""

    means_mv: Float64[Tensor, "2"]
    variances_mv2: Float64[Tensor, "2"]
    connected_share: Float64[Tensor, "2"]
    type_share: Float64[Tensor, "2"]
    unconnected_variance_mv2: Float64[Tensor, ""]

    @classmethod
    def fit(
        cls,
        measured_mv: Float[Tensor, "network sender receiver"],
        standard_error_mv: Float[Tensor, "network sender receiver"],
    ) -> "CouplingPrior":
        """From effects measured in one network or many; a standard error is infinite where nothing was measured."""
        seen = torch.isfinite(standard_error_mv).flatten(0, 1)
        evidence = _Evidence(
            torch.where(seen, measured_mv.flatten(0, 1), 0.0).double(),
            torch.where(seen, standard_error_mv.flatten(0, 1), _UNSEEN_MV2**0.5).double() ** 2,
            seen,
        )
        prior = _beginning(evidence)
        for _ in range(_ITERATIONS):
            prior = _improved(prior, evidence)
        return prior

    def posterior(
        self, measured_mv: Float[Tensor, "sender receiver"], standard_error_mv: Float[Tensor, "sender receiver"]
    ) -> Posterior:
        """Weigh a network's measured effects against their errors, and each other, and what is usual.

        Of a pair of which nothing was measured, what is usual for its sender is expected.
        """
        seen = torch.isfinite(standard_error_mv)
        measured = torch.where(seen, measured_mv, 0.0).double()
        variance = torch.where(seen, standard_error_mv, _UNSEEN_MV2**0.5).double() ** 2
        of_type, connected = _responsibilities(self, _Evidence(measured, variance, seen))
        apart = ~torch.eye(*measured.shape, dtype=torch.bool)
        belongs = of_type[..., None] * connected * apart
        means_mv, variances_mv2 = self.means_mv[:, None, None], self.variances_mv2[:, None, None]
        shrunk_mv = means_mv + variances_mv2 / (variances_mv2 + variance) * (measured - means_mv)
        return Posterior((belongs * shrunk_mv).float(), belongs.sum(0).float(), of_type[0].float())

    def tensors(self) -> dict[str, Tensor]:
        """Its figures by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class _Evidence:
    measured_mv: Float64[Tensor, "sender receiver"]
    error_variance_mv2: Float64[Tensor, "sender receiver"]
    seen: Bool[Tensor, "sender receiver"]


def _beginning(evidence: _Evidence) -> CouplingPrior:
    """From the pairs that stand out, on a scatter that is taken from the middle of all pairs."""
    measured_mv, seen = evidence.measured_mv, evidence.seen
    error_mv = evidence.error_variance_mv2.sqrt()
    excess = ((measured_mv / error_mv)[seen].abs().median() / _MAD_OF_NORMAL).clamp(min=1) if seen.any() else 1.0
    clear_mv = _CLEAR_SE * excess * error_mv
    types = torch.stack([measured_mv > clear_mv, measured_mv < -clear_mv]) & seen
    n_pairs = types.sum((1, 2))
    mean_mv = (types * measured_mv).sum((1, 2)) / n_pairs.clamp(min=1)
    usual_mv = (clear_mv[seen].median() if seen.any() else 1.0) * torch.tensor([1.0, -1.0], dtype=torch.float64)
    error_variance_mv2 = evidence.error_variance_mv2[seen].median() if seen.any() else torch.tensor(0.0)
    return CouplingPrior(
        means_mv=torch.where(n_pairs > 0, mean_mv, usual_mv),
        variances_mv2=(usual_mv / _CLEAR_SE) ** 2,
        connected_share=(2 * n_pairs / seen.sum().clamp(min=1)).clamp(1e-6, 0.5).double(),
        type_share=torch.full((2,), 0.5, dtype=torch.float64),
        unconnected_variance_mv2=((excess**2 - 1) * error_variance_mv2).double(),
    )


def _responsibilities(
    prior: CouplingPrior, evidence: _Evidence
) -> tuple[Float64[Tensor, "2 sender"], Float64[Tensor, "2 sender receiver"]]:
    """How likely each sender is of each type, and each pair is connected if its sender is of that type."""
    means_mv, variances_mv2, share = (
        figures[:, None, None] for figures in (prior.means_mv, prior.variances_mv2, prior.connected_share)
    )
    connected = share.log() + _log_normal(evidence.measured_mv - means_mv, variances_mv2 + evidence.error_variance_mv2)
    unconnected = (-share).log1p() + _log_normal(
        evidence.measured_mv, prior.unconnected_variance_mv2 + evidence.error_variance_mv2
    )
    of_row = (torch.logaddexp(connected, unconnected) * evidence.seen).sum(-1)
    return (prior.type_share.log()[:, None] + of_row).softmax(0), torch.sigmoid(connected - unconnected)


def _improved(prior: CouplingPrior, evidence: _Evidence) -> CouplingPrior:
    """One step of expectation maximisation. A type with less than one connected pair stays as it is."""
    of_type, connected = _responsibilities(prior, evidence)
    share = of_type[..., None] * connected * evidence.seen
    n_pairs = share.sum((1, 2))
    n_possible = (of_type[..., None] * evidence.seen).sum((1, 2))
    means_mv = (share * evidence.measured_mv).sum((1, 2)) / n_pairs.clamp(min=1)
    deviation_mv = evidence.measured_mv - means_mv[:, None, None]
    apart = evidence.seen.double() - share.sum(0)
    is_sender = evidence.seen.any(1)
    type_share = (of_type * is_sender).sum(1) / is_sender.sum().clamp(min=1)
    return CouplingPrior(
        means_mv=torch.where(n_pairs > 1, means_mv, prior.means_mv),
        variances_mv2=torch.where(
            n_pairs > 1, _variance_beyond_error(deviation_mv, evidence, share), prior.variances_mv2
        ),
        connected_share=(n_pairs / n_possible.clamp(min=1)).clamp(1e-6, 0.99),
        type_share=type_share.clamp(1 - _MOST_OF_ONE_TYPE, _MOST_OF_ONE_TYPE),
        unconnected_variance_mv2=_variance_beyond_error(evidence.measured_mv, evidence, apart),
    )


def _log_normal(deviation: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * (deviation**2 / variance + torch.log(2 * math.pi * variance))


def _variance_beyond_error(deviation_mv: Tensor, evidence: _Evidence, share: Tensor) -> Tensor:
    beyond = (share * (deviation_mv**2 - evidence.error_variance_mv2)).sum((-2, -1))
    return (beyond / share.sum((-2, -1)).clamp(min=1)).clamp(min=0)
