"""Estimates the coupling from what each channel's voltage does, beyond expectation, after the spikes of the others.

Averaged behind each spike of another channel, at each lag, the innovation of a channel gives that pair's effect. The
course in time that all effects share, and how effects are distributed, are learned from all networks together; with
them, a network is judged by as much as there is of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.forecasting.coupling.coupling import Coupling, SenderType
from voltpipe.forecasting.coupling.evidence import Evidence
from voltpipe.forecasting.coupling.folds import N_FOLDS, Folds, Rows
from voltpipe.forecasting.coupling.innovations import MeanSteps
from voltpipe.forecasting.coupling.prior import CouplingPrior
from voltpipe.forecasting.point_mass import find_point_mass
from voltpipe.forecasting.training_rows import stretches, training_stretches, training_values_mv
from voltpipe.windows.window_set import WindowSet

_SURE = 0.95


@dataclass(frozen=True)
class CouplingEstimator:
    """What must be known to judge the coupling of any network whose channels are of the kind that was trained on."""

    mean_steps: MeanSteps
    delay_profile: Float[Tensor, " lag"]
    prior: CouplingPrior

    def evidence(self, voltage_mv: Float[Tensor, "time channel"]) -> Evidence:
        """What a stretch of voltages shows."""
        return Evidence.of(voltage_mv, self.mean_steps, len(self.delay_profile))

    def coupling(
        self, measured_mv: Float[Tensor, "sender receiver"], standard_error_mv: Float[Tensor, "sender receiver"]
    ) -> Coupling:
        """The coupling that follows from effects measured in a network."""
        judged = self.prior.posterior(measured_mv, standard_error_mv)
        return Coupling(
            weights_mv=judged.by_type_mv.sum(0),
            measured_mv=measured_mv,
            standard_error_mv=standard_error_mv,
            probability=judged.probability,
            sender_types=tuple(map(_sender_type, judged.excitatory.tolist())),
            reset=self.mean_steps.reset,
            delay_profile=self.delay_profile,
        )


@dataclass(frozen=True)
class TrainingEvidence:
    """An estimator, and what the training rows show of each network (organoid)."""

    estimator: CouplingEstimator
    networks: tuple[Evidence, ...]
    folds: dict[tuple[int, int], Evidence]
    """The same piece by piece, by (network, fold)."""


def estimate_coupling(window_set: WindowSet, *, n_lags: int) -> TrainingEvidence | None:
    """What the training rows show of their networks' coupling, or none where spikes cannot be seen in the voltage.

    Args:
        window_set: of which only the training rows are read.
        n_lags: how many samples after a spike is first seen its effect is looked for.
    """
    values_mv = training_values_mv(window_set)
    reset = find_point_mass(values_mv)
    if reset is None:
        return None
    voltages_mv = (stretch.samples_mv() for stretch in training_stretches(window_set, n_before=0, n_after=1))
    mean_steps = MeanSteps.fit(voltages_mv, ascending_mv=values_mv, reset=reset)
    folds, networks = evidence_of_training(window_set, mean_steps, n_lags)
    delay_profile = _delay_profile(networks)
    measured = [evidence.measured_mv(delay_profile) for evidence in networks]
    prior = CouplingPrior.fit(*map(torch.stack, zip(*measured, strict=True)))
    return TrainingEvidence(CouplingEstimator(mean_steps, delay_profile, prior), networks, folds)


def evidence_of_training(
    window_set: WindowSet, mean_steps: MeanSteps, n_lags: int
) -> tuple[dict[tuple[int, int], Evidence], tuple[Evidence, ...]]:
    """What the training rows show, by (network, fold) and by network."""
    none = Evidence.none(n_lags, window_set.n_channels)

    def of_rows(rows: list[Rows]) -> Evidence:
        # One row before, to see whether a spike is new; lags behind, so that each spike has all of its effect counted.
        pieces = stretches(window_set, rows, n_before=1, n_after=n_lags)
        return sum((Evidence.of(piece.samples_mv(), mean_steps, n_lags) for piece in pieces), none)

    folds = {place: of_rows(rows) for place, rows in Folds(window_set).rows.items()}
    n_networks = len(window_set.training_organoids())
    networks = (sum((folds[network, fold] for fold in range(N_FOLDS)), none) for network in range(n_networks))
    return folds, tuple(networks)


def _sender_type(excitatory: float) -> SenderType:
    if max(excitatory, 1 - excitatory) < _SURE:
        return SenderType.UNKNOWN
    return SenderType.EXCITATORY if excitatory > 0.5 else SenderType.INHIBITORY


def _delay_profile(networks: Iterable[Evidence]) -> Float[Tensor, " lag"]:
    """The course that the effects of all pairs have in common: their first principal component, with sum 1."""
    effects_mv = torch.cat([evidence.effects_mv()[:, evidence.seen()] for evidence in networks], dim=1)
    vectors = torch.linalg.eigh(effects_mv @ effects_mv.T).eigenvectors
    first: Tensor = vectors[:, -1]
    return (first / first.sum()).float()
