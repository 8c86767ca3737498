"""What a forecaster remembers of couplings: how to judge one, and what was measured in each network trained on."""

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

_LEAST_SHARE = 0.01
"""So that no spike's effect is held to have arrived, or not, before its receivers are looked at."""


class CouplingState(nn.Module):
    """The state of a `ConnectivityEstimator` and of the networks it was fitted on, saved with the weights.

    Args:
        n_lags: samples after a spike in which it has its effect.
        n_networks: organoids trained on.
        n_channels: of each.
    """

    OF_NETWORKS: ClassVar = ("measured_mv", "precision_per_mv")
    """What belongs to the networks trained on; all else is about couplings in general."""

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

    def __init__(self, n_lags: int, n_networks: int, n_channels: int) -> None:
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
            "measured_mv": (n_networks, n_channels, n_channels),
            "precision_per_mv": (n_networks, n_channels, n_channels),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    @property
    def is_empty(self) -> bool:
        """Whether no spike could be seen, and so no coupling."""
        return not bool(self.reset_tolerance_mv > 0)

    def fit(self, evidence: TrainingSpikeSums) -> None:
        """Keep what was estimated."""
        estimator = evidence.estimator
        self.reset_mv.fill_(estimator.mean_steps.reset.voltage_mv)
        self.reset_tolerance_mv.fill_(estimator.mean_steps.reset.tolerance_mv)
        self.edges_mv.copy_(estimator.mean_steps.edges_mv)
        self.mean_steps_mv.copy_(estimator.mean_steps.mean_mv)
        self.innovation_variance_mv2.copy_(sum(evidence.networks[1:], evidence.networks[0]).variance_mv2())
        self.delay_profile.copy_(estimator.delay_profile)
        for name, figures in estimator.prior.tensors().items():
            getattr(self, name).copy_(figures)
        self.measure(evidence.networks)

    def measure(self, networks: Sequence[SpikeTriggeredSums]) -> None:
        """Keep what each network shows."""
        for network, shown in enumerate(networks):
            measured_mv, standard_error_mv = shown.measured_mv(self.delay_profile.cpu())
            self.measured_mv[network] = measured_mv
            self.precision_per_mv[network] = 1 / standard_error_mv

    def estimator(self) -> ConnectivityEstimator:
        """What judges a network, on the CPU."""
        reset = ResetVoltage(float(self.reset_mv), float(self.reset_tolerance_mv))
        figures = (
            self.means_mv,
            self.variances_mv2,
            self.connected_share,
            self.type_share,
            self.unconnected_variance_mv2,
        )
        return ConnectivityEstimator(
            MeanStepTable(reset, self.edges_mv.cpu(), self.mean_steps_mv.cpu()),
            self.delay_profile.cpu(),
            CouplingPrior(*(figure.cpu().double() for figure in figures)),
        )

    def under_way(
        self,
        voltage_mv: Float[Tensor, "batch time channel"],
        at_reset: Bool[Tensor, "batch time channel"],
        coupling_mv: Float[Tensor, "network 2 sender receiver"],
    ) -> Float[Tensor, "batch time channel"]:
        """How much of the effect of a spike seen one sample ago is still to come, at each sample; zero elsewhere."""
        if self.is_empty:
            return torch.zeros_like(voltage_mv)
        is_free = steps_away_from_reset(at_reset)
        return arrival_posterior(
            spike_onsets(at_reset),
            innovations_mv(voltage_mv, is_free, self.edges_mv, self.mean_steps_mv),
            is_free,
            coupling_mv.sum(1),
            innovation_variance_mv2=self.innovation_variance_mv2,
            landed_log_odds=self.delay_profile[0].clamp(_LEAST_SHARE, 1 - _LEAST_SHARE).logit(),
        )

    def coupling(self, network: int) -> Connectivity:
        """Of a network that was trained on."""
        return self.estimator().coupling(self.measured_mv[network].cpu(), 1 / self.precision_per_mv[network].cpu())

    def known_mv(self, network: int) -> Float[Tensor, "2 sender receiver"]:
        """What the spikes of each channel are expected to do in a network that was trained on, by type of sender."""
        return self._judged_mv(self.measured_mv[network].cpu(), 1 / self.precision_per_mv[network].cpu())

    def usual_mv(self, n_channels: int) -> Float[Tensor, "2 sender receiver"]:
        """The same in a network of which nothing was seen."""
        nothing = torch.zeros(n_channels, n_channels)
        return self._judged_mv(nothing, nothing + torch.inf)

    def adapted_mv(self, evidence: SpikeTriggeredSums) -> Float[Tensor, "2 sender receiver"]:
        """The same in a network of which only this was seen."""
        return self._judged_mv(*evidence.measured_mv(self.delay_profile.cpu()))

    def _judged_mv(self, measured_mv: Tensor, standard_error_mv: Tensor) -> Float[Tensor, "2 sender receiver"]:
        if self.is_empty:
            return torch.zeros(2, *measured_mv.shape)
        return self.estimator().prior.posterior(measured_mv, standard_error_mv).by_type_mv


_ROUNDS = 2


def arrival_posterior(
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


class FoldCouplings:
    """A table of couplings by window. A training window's coupling is estimated from all folds but its own.

    Args:
        memory: what is known of the organoids that were trained on.
        window_set: only its training rows are read.
        unknown_share: share of training windows that get the coupling expected of an unknown organoid.
    """

    def __init__(self, memory: CouplingState, window_set: WindowSet, *, unknown_share: float) -> None:
        self._window_set = window_set
        self._unknown_share = unknown_share
        self._folds = Folds(window_set)
        self.usual_mv: Float[Tensor, "2 sender receiver"] = memory.usual_mv(window_set.n_channels)
        shown, networks = training_spike_sums(
            window_set, memory.estimator().mean_steps, n_lags=len(memory.delay_profile)
        )
        others = [
            all_of_it - shown[network, fold] for network, all_of_it in enumerate(networks) for fold in range(N_FOLDS)
        ]
        cross_fitted_mv = torch.stack([memory.adapted_mv(evidence) for evidence in others])
        self._cross_fitted_mv = cross_fitted_mv.reshape(len(networks), N_FOLDS, *self.usual_mv.shape)
        self._known_mv = torch.stack([*(memory.known_mv(network) for network in range(len(networks))), self.usual_mv])
        known = {organoid: network for network, organoid in enumerate(window_set.training_organoids())}
        self._networks = torch.tensor([known.get(r.organoid, len(known)) for r in window_set.recordings])

    def of_training(self, windows: Int64[np.ndarray, " window"]) -> Float[Tensor, "window 2 sender receiver"]:
        """The coupling that the other folds show; for a random share of the windows, that of an unknown organoid."""
        middle_rows = self._window_set.index["start_row"][windows] + self._window_set.settings.window_samples // 2
        networks, folds = map(torch.from_numpy, self._folds.of_rows(middle_rows))
        coupling_mv = self._cross_fitted_mv[networks, folds]
        unknown = torch.rand(len(windows)) < self._unknown_share
        return torch.where(unknown[:, None, None, None], self.usual_mv, coupling_mv)

    def of_held_out(self, windows: Int64[np.ndarray, " window"]) -> Float[Tensor, "window 2 sender receiver"]:
        """The coupling that all training rows show, or the usual one for organoids that were not trained on."""
        return self._known_mv[self._networks[self._window_set.index["recording"][windows]]]
