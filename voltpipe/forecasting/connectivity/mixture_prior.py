"""Mixture prior of couplings, from which the connectivity of an organoid with little data can be estimated.

A sender either excites or inhibits all of its receivers (Dale's principle). Measured effects of unconnected pairs
scatter around zero, those of connected pairs around the mean of the sender's type. Means, variances and shares of
connected pairs are fitted by expectation maximization over all organoids. Thus no threshold and no prior knowledge of
an organoid is needed.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

_ITERATIONS = 50
_CLEAR_SE = 4.0
"""Distance from zero, in standard errors, of the effects that initialize the search."""
_MAD_OF_NORMAL = 0.6745
_MAX_TYPE_SHARE = 0.9
"""Bound on the share of a type, so that a sender without data is not assigned the more frequent one."""
_UNMEASURED_MV2 = 1e12
"""Error variance of pairs without a measurement."""


@dataclass(frozen=True)
class Posterior:
    """Posterior of each pair and each sender, given the measurements and the prior."""

    by_type_mv: Float[Tensor, "2 sender receiver"]
    """Expected effect of one spike in mV, split by sender type (excitatory, inhibitory); the sum is the total."""
    probability: Float[Tensor, "sender receiver"]
    """Probability that the pair is connected."""
    excitatory: Float[Tensor, " sender"]
    """Probability that the sender is excitatory rather than inhibitory."""


@dataclass(frozen=True)
class CouplingPrior:
    """Distributions of effects without measurement error. The first type is excitatory, the second inhibitory."""

    means_mv: Float64[Tensor, "2"]
    variances_mv2: Float64[Tensor, "2"]
    connected_share: Float64[Tensor, "2"]
    type_share: Float64[Tensor, "2"]
    unconnected_variance_mv2: Float64[Tensor, ""]

    @classmethod
    def fit(
        cls,
        measured_mv: Float[Tensor, "organoid sender receiver"],
        standard_error_mv: Float[Tensor, "organoid sender receiver"],
    ) -> "CouplingPrior":
        """Fit the prior to the measured effects of all organoids.

        A standard error is infinite where nothing was measured.
        """
        data = _Measurements.of(measured_mv.flatten(0, 1), standard_error_mv.flatten(0, 1))
        prior = _initial_prior(data)
        for _ in range(_ITERATIONS):
            prior = _update(prior, data)
        return prior

    def posterior(
        self, measured_mv: Float[Tensor, "sender receiver"], standard_error_mv: Float[Tensor, "sender receiver"]
    ) -> Posterior:
        """Combine an organoid's measured effects and their standard errors with the prior.

        A pair without a measurement gets the expectation for its sender.
        """
        data = _Measurements.of(measured_mv, standard_error_mv)
        of_type, connected = _responsibilities(self, data)
        off_diagonal = ~torch.eye(*measured_mv.shape, dtype=torch.bool)
        weight = of_type[..., None] * connected * off_diagonal
        means_mv, variances_mv2 = self.means_mv[:, None, None], self.variances_mv2[:, None, None]
        reliability = variances_mv2 / (variances_mv2 + data.error_variance_mv2)
        shrunk_mv = means_mv + reliability * (data.measured_mv - means_mv)
        return Posterior((weight * shrunk_mv).float(), weight.sum(0).float(), of_type[0].float())

    def tensors(self) -> dict[str, Tensor]:
        """Return the parameters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class _Measurements:
    measured_mv: Float64[Tensor, "sender receiver"]
    error_variance_mv2: Float64[Tensor, "sender receiver"]
    is_measured: Bool[Tensor, "sender receiver"]

    @classmethod
    def of(cls, measured_mv: Tensor, standard_error_mv: Tensor) -> "_Measurements":
        is_measured = torch.isfinite(standard_error_mv)
        return cls(
            torch.where(is_measured, measured_mv, 0.0).double(),
            torch.where(is_measured, standard_error_mv, _UNMEASURED_MV2**0.5).double() ** 2,
            is_measured,
        )


def _initial_prior(data: _Measurements) -> CouplingPrior:
    """Initialize from clear effects, with the background scatter estimated from the median of all pairs."""
    measured_mv, seen = data.measured_mv, data.is_measured
    error_mv = data.error_variance_mv2.sqrt()
    excess = ((measured_mv / error_mv)[seen].abs().median() / _MAD_OF_NORMAL).clamp(min=1) if seen.any() else 1.0
    clear_mv = _CLEAR_SE * excess * error_mv
    types = torch.stack([measured_mv > clear_mv, measured_mv < -clear_mv]) & seen
    n_pairs = types.sum((1, 2))
    mean_mv = (types * measured_mv).sum((1, 2)) / n_pairs.clamp(min=1)
    default_mv = (clear_mv[seen].median() if seen.any() else 1.0) * torch.tensor([1.0, -1.0], dtype=torch.float64)
    error_variance_mv2 = data.error_variance_mv2[seen].median() if seen.any() else torch.tensor(0.0)
    return CouplingPrior(
        means_mv=torch.where(n_pairs > 0, mean_mv, default_mv),
        variances_mv2=(default_mv / _CLEAR_SE) ** 2,
        connected_share=(2 * n_pairs / seen.sum().clamp(min=1)).clamp(1e-6, 0.5).double(),
        type_share=torch.full((2,), 0.5, dtype=torch.float64),
        unconnected_variance_mv2=((excess**2 - 1) * error_variance_mv2).double(),
    )


def _responsibilities(
    prior: CouplingPrior, data: _Measurements
) -> tuple[Float64[Tensor, "2 sender"], Float64[Tensor, "2 sender receiver"]]:
    """Return the probability of each sender's type, and of a connection given that type."""
    means_mv, variances_mv2, share = (
        parameter[:, None, None] for parameter in (prior.means_mv, prior.variances_mv2, prior.connected_share)
    )
    connected = share.log() + _log_normal(data.measured_mv - means_mv, variances_mv2 + data.error_variance_mv2)
    unconnected = (-share).log1p() + _log_normal(
        data.measured_mv, prior.unconnected_variance_mv2 + data.error_variance_mv2
    )
    by_sender = (torch.logaddexp(connected, unconnected) * data.is_measured).sum(-1)
    return (prior.type_share.log()[:, None] + by_sender).softmax(0), torch.sigmoid(connected - unconnected)


def _update(prior: CouplingPrior, data: _Measurements) -> CouplingPrior:
    """Run one step of expectation maximization. A type with at most one connected pair keeps its mean and variance."""
    of_type, connected = _responsibilities(prior, data)
    share = of_type[..., None] * connected * data.is_measured
    n_pairs = share.sum((1, 2))
    n_possible = (of_type[..., None] * data.is_measured).sum((1, 2))
    means_mv = (share * data.measured_mv).sum((1, 2)) / n_pairs.clamp(min=1)
    deviation_mv = data.measured_mv - means_mv[:, None, None]
    unconnected = data.is_measured.double() - share.sum(0)
    is_sender = data.is_measured.any(1)
    type_share = (of_type * is_sender).sum(1) / is_sender.sum().clamp(min=1)
    return CouplingPrior(
        means_mv=torch.where(n_pairs > 1, means_mv, prior.means_mv),
        variances_mv2=torch.where(n_pairs > 1, _variance_beyond_error(deviation_mv, data, share), prior.variances_mv2),
        connected_share=(n_pairs / n_possible.clamp(min=1)).clamp(1e-6, 0.99),
        type_share=type_share.clamp(1 - _MAX_TYPE_SHARE, _MAX_TYPE_SHARE),
        unconnected_variance_mv2=_variance_beyond_error(data.measured_mv, data, unconnected),
    )


def _log_normal(deviation: Tensor, variance: Tensor) -> Tensor:
    return -0.5 * (deviation**2 / variance + torch.log(2 * math.pi * variance))


def _variance_beyond_error(deviation_mv: Tensor, data: _Measurements, share: Tensor) -> Tensor:
    beyond = (share * (deviation_mv**2 - data.error_variance_mv2)).sum((-2, -1))
    return (beyond / share.sum((-2, -1)).clamp(min=1)).clamp(min=0)
