"""Couplings in a model: their saved state, the arrival of spike effects, and the couplings of training windows."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn.functional import pad

from voltpipe.forecasting.connectivity.connectivity import Connectivity
from voltpipe.forecasting.connectivity.estimation import (
    N_FOLDS,
    ConnectivityEstimator,
    Folds,
    TrainingSpikeSums,
    training_spike_sums,
)
from voltpipe.forecasting.connectivity.mixture_prior import CouplingPrior
from voltpipe.forecasting.connectivity.spike_triggered_average import (
    N_BINS,
    MeanStepTable,
    SpikeTriggeredSums,
    innovations_mv,
    steps_away_from_reset,
)
from voltpipe.signals.spike_detection import ResetVoltage, spike_onsets
from voltpipe.windows.window_set import WindowSet

_MIN_ARRIVAL_PROBABILITY = 0.01
"""Bound on the prior probability of arrival, so that the innovations of the receivers always count."""
_MEAN_FIELD_ROUNDS = 2


class CouplingState(nn.Module):
    """State of a `ConnectivityEstimator` and measurements of its training organoids, saved with the weights.

    Args:
        n_lags: number of samples after a spike in which its effect arrives.
        n_organoids: number of training organoids.
        n_channels: number of channels of each organoid.
    """

    BY_ORGANOID: ClassVar = ("measured_mv", "precision_per_mv")
    """Buffers with measurements of the training organoids. All others describe connectivity in general."""

    reset_mv: Tensor
    reset_tolerance_mv: Tensor
    edges_mv: Tensor
    innovation_variance_mv2: Tensor
    mean_steps_mv: Tensor
    delay_profile: Tensor
    means_mv: Tensor
    variances_mv2: Tensor
    connected_share: Tensor
    type_share: Tensor
    unconnected_variance_mv2: Tensor
    measured_mv: Tensor
    precision_per_mv: Tensor

    def __init__(self, n_lags: int, n_organoids: int, n_channels: int) -> None:
        super().__init__()
        shapes: dict[str, tuple[int, ...]] = {
            "reset_mv": (),
            "reset_tolerance_mv": (),
            "edges_mv": (N_BINS - 1,),
            "mean_steps_mv": (N_BINS,),
            "innovation_variance_mv2": (),
            "delay_profile": (n_lags,),
            "means_mv": (2,),
            "variances_mv2": (2,),
            "connected_share": (2,),
            "type_share": (2,),
            "unconnected_variance_mv2": (),
            "measured_mv": (n_organoids, n_channels, n_channels),
            "precision_per_mv": (n_organoids, n_channels, n_channels),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    @property
    def is_empty(self) -> bool:
        """True if no spikes were detected in training, so that there are no couplings."""
        return not bool(self.reset_tolerance_mv > 0)

    def fit(self, training: TrainingSpikeSums) -> None:
        """Store the estimator and the measurements of the training organoids."""
        estimator = training.estimator
        self.reset_mv.fill_(estimator.mean_steps.reset.voltage_mv)
        self.reset_tolerance_mv.fill_(estimator.mean_steps.reset.tolerance_mv)
        self.edges_mv.copy_(estimator.mean_steps.edges_mv)
        self.mean_steps_mv.copy_(estimator.mean_steps.mean_mv)
        self.innovation_variance_mv2.copy_(sum(training.by_organoid[1:], training.by_organoid[0]).variance_mv2())
        self.delay_profile.copy_(estimator.delay_profile)
        for name, tensor in estimator.prior.tensors().items():
            getattr(self, name).copy_(tensor)
        self.store_measurements(training.by_organoid)

    def store_measurements(self, by_organoid: Sequence[SpikeTriggeredSums]) -> None:
        """Store the measured couplings of each organoid."""
        for organoid, sums in enumerate(by_organoid):
            measured_mv, standard_error_mv = sums.measured_mv(self.delay_profile.cpu())
            self.measured_mv[organoid] = measured_mv
            self.precision_per_mv[organoid] = 1 / standard_error_mv

    def estimator(self) -> ConnectivityEstimator:
        """Rebuild the estimator, on the CPU."""
        reset = ResetVoltage(float(self.reset_mv), float(self.reset_tolerance_mv))
        prior = (
            self.means_mv,
            self.variances_mv2,
            self.connected_share,
            self.type_share,
            self.unconnected_variance_mv2,
        )
        return ConnectivityEstimator(
            MeanStepTable(reset, self.edges_mv.cpu(), self.mean_steps_mv.cpu()),
            self.delay_profile.cpu(),
            CouplingPrior(*(tensor.cpu().double() for tensor in prior)),
        )

    def connectivity(self, organoid: int) -> Connectivity:
        """Return the connectivity of a training organoid, given by its number."""
        return self.estimator().connectivity(*self._measured_mv(organoid))

    def coupling_mv(self, organoid: int) -> Float[Tensor, "2 sender receiver"]:
        """Return the coupling of a training organoid in mV, by sender type."""
        return self._posterior_mv(*self._measured_mv(organoid))

    def expected_coupling_mv(self, n_channels: int) -> Float[Tensor, "2 sender receiver"]:
        """Return the coupling in mV that is expected of an organoid without any data, by sender type."""
        zeros = torch.zeros(n_channels, n_channels)
        return self._posterior_mv(zeros, zeros + torch.inf)

    def adapted_coupling_mv(self, sums: SpikeTriggeredSums) -> Float[Tensor, "2 sender receiver"]:
        """Return the coupling in mV of an organoid from which only these sums are known, by sender type."""
        return self._posterior_mv(*sums.measured_mv(self.delay_profile.cpu()))

    def _measured_mv(self, organoid: int) -> tuple[Tensor, Tensor]:
        return self.measured_mv[organoid].cpu(), 1 / self.precision_per_mv[organoid].cpu()

    def _posterior_mv(self, measured_mv: Tensor, standard_error_mv: Tensor) -> Float[Tensor, "2 sender receiver"]:
        if self.is_empty:
            return torch.zeros(2, *measured_mv.shape)
        return self.estimator().prior.posterior(measured_mv, standard_error_mv).by_type_mv

    def share_to_come(
        self,
        voltage_mv: Float[Tensor, "batch time channel"],
        at_reset: Bool[Tensor, "batch time channel"],
        coupling_mv: Float[Tensor, "organoid 2 sender receiver"],
    ) -> Float[Tensor, "batch time channel"]:
        """Return the expected share of a spike's effect still to come one sample after its onset; zero elsewhere."""
        if self.is_empty:
            return torch.zeros_like(voltage_mv)
        is_free = steps_away_from_reset(at_reset)
        arrives_first = self.delay_profile[0].clamp(_MIN_ARRIVAL_PROBABILITY, 1 - _MIN_ARRIVAL_PROBABILITY)
        return arrival_posterior(
            spike_onsets(at_reset),
            innovations_mv(voltage_mv, is_free, self.edges_mv, self.mean_steps_mv),
            is_free,
            coupling_mv.sum(1),
            innovation_variance_mv2=self.innovation_variance_mv2,
            arrival_log_odds=arrives_first.logit(),
        )


def arrival_posterior(
    spikes: Bool[Tensor, "batch time channel"],
    innovations_mv: Float[Tensor, "batch step channel"],
    is_free: Bool[Tensor, "batch step channel"],
    coupling_mv: Float[Tensor, "organoid sender receiver"],
    *,
    innovation_variance_mv2: Float[Tensor, ""],
    arrival_log_odds: Float[Tensor, ""],
) -> Float[Tensor, "batch time channel"]:
    """Return the probability that the effect of a spike one sample ago is still to come; zero elsewhere.

    If the delay is not a whole number of samples, an effect may arrive in either of two samples, but all receivers of
    a sender have it in the same one. Their innovations are therefore combined by Bayes' rule, assuming normal
    innovations of equal variance. The expected effects of other spikes are subtracted first (mean-field approximation
    with a few iterations).

    Args:
        spikes: spike onsets.
        innovations_mv: innovation of the step from each sample to the next, in mV; zero for steps that are not free.
        is_free: whether the step neither begins nor ends at the reset.
        coupling_mv: effect of one spike of each sender, in mV; one matrix for each window, or a single one for all.
        innovation_variance_mv2: variance of the innovations of free steps.
        arrival_log_odds: prior log-odds that an effect arrives in the sample after the spike onset.
    """
    receivers_of, free = coupling_mv.mT, is_free.to(coupling_mv.dtype)
    squares_mv2 = free @ receivers_of.square()
    onset = spikes[:, :-1].to(coupling_mv.dtype)
    arrived = torch.sigmoid(arrival_log_odds).expand_as(onset)
    for _ in range(_MEAN_FIELD_ROUNDS):
        arriving = onset * arrived + pad((onset * (1 - arrived))[:, :-1], (0, 0, 1, 0))
        residual_mv = innovations_mv - arriving @ coupling_mv * free
        # The residual also lacks the expected effect of the sender itself; the second term adds it back.
        evidence_mv2 = residual_mv @ receivers_of + (arrived - 0.5) * squares_mv2
        arrived = torch.sigmoid(arrival_log_odds + evidence_mv2 / innovation_variance_mv2)
    return pad(onset * (1 - arrived), (0, 0, 1, 0))


class FoldCouplings:
    """Coupling of each window. For a training window, it is estimated from all folds except the window's own.

    Args:
        state: couplings of the training organoids.
        window_set: source of the training rows; no other rows are read.
        unknown_share: share of training windows that get the coupling expected of an unknown organoid.
    """

    def __init__(self, state: CouplingState, window_set: WindowSet, *, unknown_share: float) -> None:
        self._window_set = window_set
        self._unknown_share = unknown_share
        self._folds = Folds(window_set)
        self._expected_mv: Float[Tensor, "2 sender receiver"] = state.expected_coupling_mv(window_set.n_channels)
        by_fold, by_organoid = training_spike_sums(
            window_set, state.estimator().mean_steps, n_lags=len(state.delay_profile)
        )
        cross_fitted_mv = torch.stack(
            [
                state.adapted_coupling_mv(total - by_fold[organoid, fold])
                for organoid, total in enumerate(by_organoid)
                for fold in range(N_FOLDS)
            ]
        )
        self._cross_fitted_mv = cross_fitted_mv.reshape(len(by_organoid), N_FOLDS, *self._expected_mv.shape)
        known_mv = (state.coupling_mv(organoid) for organoid in range(len(by_organoid)))
        self._held_out_mv = torch.stack([*known_mv, self._expected_mv])
        number_of = {organoid: number for number, organoid in enumerate(window_set.training_organoids())}
        self._organoids = torch.tensor([number_of.get(r.organoid, len(number_of)) for r in window_set.recordings])

    def of_training(self, windows: Int64[np.ndarray, " window"]) -> Float[Tensor, "window 2 sender receiver"]:
        """Return the couplings in mV from the other folds; for a random share, those of an unknown organoid."""
        middle_rows = self._window_set.index["start_row"][windows] + self._window_set.settings.window_samples // 2
        organoids, folds = map(torch.from_numpy, self._folds.of_rows(middle_rows))
        coupling_mv = self._cross_fitted_mv[organoids, folds]
        is_unknown = torch.rand(len(windows)) < self._unknown_share
        return torch.where(is_unknown[:, None, None, None], self._expected_mv, coupling_mv)

    def of_held_out(self, windows: Int64[np.ndarray, " window"]) -> Float[Tensor, "window 2 sender receiver"]:
        """Return the couplings in mV from all training rows; for other organoids, the expected ones."""
        return self._held_out_mv[self._organoids[self._window_set.index["recording"][windows]]]
