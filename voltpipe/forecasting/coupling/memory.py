"""What a forecaster remembers of couplings: how to judge one, and what was measured in each network trained on."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from voltpipe.forecasting.coupling.coupling import Coupling
from voltpipe.forecasting.coupling.estimate import CouplingEstimator, TrainingEvidence
from voltpipe.forecasting.coupling.evidence import Evidence
from voltpipe.forecasting.coupling.innovations import N_BINS, MeanSteps, free_steps, innovations_mv
from voltpipe.forecasting.coupling.landing import share_under_way
from voltpipe.forecasting.coupling.prior import CouplingPrior
from voltpipe.forecasting.coupling.spikes import onsets
from voltpipe.forecasting.point_mass import PointMass

_LEAST_SHARE = 0.01
"""So that no spike's effect is held to have arrived, or not, before its receivers are looked at."""


class CouplingMemory(nn.Module):
    """The state of a `CouplingEstimator` and of the networks it was fitted on, saved with the weights.

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

    def fit(self, evidence: TrainingEvidence) -> None:
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

    def measure(self, networks: Sequence[Evidence]) -> None:
        """Keep what each network shows."""
        for network, shown in enumerate(networks):
            measured_mv, standard_error_mv = shown.measured_mv(self.delay_profile.cpu())
            self.measured_mv[network] = measured_mv
            self.precision_per_mv[network] = 1 / standard_error_mv

    def estimator(self) -> CouplingEstimator:
        """What judges a network, on the CPU."""
        reset = PointMass(float(self.reset_mv), float(self.reset_tolerance_mv))
        figures = (
            self.means_mv,
            self.variances_mv2,
            self.connected_share,
            self.type_share,
            self.unconnected_variance_mv2,
        )
        return CouplingEstimator(
            MeanSteps(reset, self.edges_mv.cpu(), self.mean_steps_mv.cpu()),
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
        is_free = free_steps(at_reset)
        return share_under_way(
            onsets(at_reset),
            innovations_mv(voltage_mv, is_free, self.edges_mv, self.mean_steps_mv),
            is_free,
            coupling_mv.sum(1),
            innovation_variance_mv2=self.innovation_variance_mv2,
            landed_log_odds=self.delay_profile[0].clamp(_LEAST_SHARE, 1 - _LEAST_SHARE).logit(),
        )

    def coupling(self, network: int) -> Coupling:
        """Of a network that was trained on."""
        return self.estimator().coupling(self.measured_mv[network].cpu(), 1 / self.precision_per_mv[network].cpu())

    def known_mv(self, network: int) -> Float[Tensor, "2 sender receiver"]:
        """What the spikes of each channel are expected to do in a network that was trained on, by type of sender."""
        return self._judged_mv(self.measured_mv[network].cpu(), 1 / self.precision_per_mv[network].cpu())

    def usual_mv(self, n_channels: int) -> Float[Tensor, "2 sender receiver"]:
        """The same in a network of which nothing was seen."""
        nothing = torch.zeros(n_channels, n_channels)
        return self._judged_mv(nothing, nothing + torch.inf)

    def adapted_mv(self, evidence: Evidence) -> Float[Tensor, "2 sender receiver"]:
        """The same in a network of which only this was seen."""
        return self._judged_mv(*evidence.measured_mv(self.delay_profile.cpu()))

    def _judged_mv(self, measured_mv: Tensor, standard_error_mv: Tensor) -> Float[Tensor, "2 sender receiver"]:
        if self.is_empty:
            return torch.zeros(2, *measured_mv.shape)
        return self.estimator().prior.posterior(measured_mv, standard_error_mv).by_type_mv
