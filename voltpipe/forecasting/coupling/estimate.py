"""Estimates the coupling from what each channel's voltage does, beyond expectation, after the spikes of the others.

The innovation of a channel is its step from one sample to the next minus the mean step from the same voltage, taken
over steps in which it neither spikes nor stands at the reset. Averaged behind each spike of another channel, at each
lag, it gives that pair's effect; all pairs together are two matrix products.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from voltpipe.forecasting.coupling.coupling import Coupling, SenderType
from voltpipe.forecasting.coupling.posterior import posterior
from voltpipe.forecasting.coupling.spikes import onsets, standing_at
from voltpipe.forecasting.point_mass import PointMass, find_point_mass
from voltpipe.forecasting.training_rows import Stretch, training_stretches, training_values_mv
from voltpipe.windows.window_set import WindowSet

_N_VALUES = 1_000_000
_N_BINS = 200
_SURE = 0.95


def estimate_coupling(window_set: WindowSet, *, n_lags: int) -> Coupling | None:
    """The coupling that the training rows show, or none where spikes cannot be seen in the voltage.

    Args:
        window_set: of which only the training rows are read.
        n_lags: how many samples after a spike is first seen its effect is looked for.
    """
    values_mv = training_values_mv(window_set, _N_VALUES)
    reset = find_point_mass(values_mv)
    if reset is None:
        return None
    expectation = _Expectation(values_mv)
    for stretch in training_stretches(window_set, n_before=0, n_after=1):
        expectation.add(stretch.samples_mv(), reset)
    triggered = _TriggeredInnovations(window_set.n_channels, n_lags)
    # One row before, to see whether a spike is new; lags behind, so that each spike has all of its effect counted.
    for stretch in training_stretches(window_set, n_before=1, n_after=n_lags):
        triggered.add(stretch, reset, expectation)
    return triggered.coupling(reset)


class _Expectation:
    """The mean step from a voltage, in bins of equally many samples."""

    def __init__(self, ascending_mv: Float[Tensor, " value"]) -> None:
        positions = torch.linspace(0, len(ascending_mv) - 1, _N_BINS + 1)[1:-1].long()
        self.edges_mv = torch.unique(ascending_mv[positions])
        n_bins = len(self.edges_mv) + 1
        self.sums_mv, self.counts = torch.zeros(2, n_bins, dtype=torch.float64)

    def add(self, voltage_mv: Float[Tensor, "time channel"], reset: PointMass) -> None:
        steps_mv, is_free = _free_steps(voltage_mv, reset)
        bins = torch.bucketize(voltage_mv[:-1][is_free], self.edges_mv)
        self.sums_mv += torch.bincount(bins, weights=steps_mv[is_free].double(), minlength=len(self.sums_mv))
        self.counts += torch.bincount(bins, minlength=len(self.counts))

    def innovations_mv(
        self, voltage_mv: Float[Tensor, "time channel"], reset: PointMass
    ) -> tuple[Float[Tensor, "step channel"], Bool[Tensor, "step channel"]]:
        """What each free step adds to the mean step from its voltage, zero at the others; and which are free."""
        steps_mv, is_free = _free_steps(voltage_mv, reset)
        mean_mv = (self.sums_mv / self.counts.clamp(min=1)).float()
        expected_mv = mean_mv[torch.bucketize(voltage_mv[:-1], self.edges_mv)]
        return (steps_mv - expected_mv) * is_free, is_free


def _free_steps(
    voltage_mv: Float[Tensor, "time channel"], reset: PointMass
) -> tuple[Float[Tensor, "step channel"], Bool[Tensor, "step channel"]]:
    at_reset = standing_at(voltage_mv, reset.voltage_mv, reset.tolerance_mv)
    return voltage_mv.diff(dim=0), ~(at_reset[1:] | at_reset[:-1])


class _TriggeredInnovations:
    """Sums over the spikes of each sender, the receivers' innovations at each lag."""

    def __init__(self, n_channels: int, n_lags: int) -> None:
        self.sums_mv, self.counts = torch.zeros(2, n_lags, n_channels, n_channels, dtype=torch.float64)
        self.totals_mv, self.squares, self.totals = torch.zeros(3, n_channels, dtype=torch.float64)

    def add(self, stretch: Stretch, reset: PointMass, expectation: _Expectation) -> None:
        voltage_mv = stretch.samples_mv()
        n_lags = len(self.sums_mv)
        at_reset = standing_at(voltage_mv, reset.voltage_mv, reset.tolerance_mv)
        spikes = onsets(at_reset)[1:-n_lags].float().T
        innovations_mv, is_free = expectation.innovations_mv(voltage_mv[1:], reset)
        self.totals_mv += innovations_mv.sum(0)
        self.squares += innovations_mv.square().sum(0)
        self.totals += is_free.sum(0)
        for lag in range(n_lags):
            behind = slice(lag, lag + spikes.shape[1])
            self.sums_mv[lag] += spikes @ innovations_mv[behind]
            self.counts[lag] += spikes @ is_free[behind].float()

    def coupling(self, reset: PointMass) -> Coupling:
        mean_mv = self.totals_mv / self.totals.clamp(min=1)
        sd_mv = (self.squares / self.totals.clamp(min=1) - mean_mv**2).sqrt()
        effects_mv = self.sums_mv / self.counts.clamp(min=1) - mean_mv
        seen = (self.counts > 0).all(0).fill_diagonal_(False)
        profile = _delay_profile(effects_mv[:, seen])
        # Least squares for the pair's shift w in effects = w x profile.
        measured_mv = torch.einsum("lsr,l->sr", effects_mv, profile) / profile.square().sum()
        error = torch.einsum("lsr,l->sr", 1 / self.counts, profile.square()).sqrt() / profile.square().sum() * sd_mv
        measured_mv = torch.where(seen, measured_mv, 0.0).float()
        standard_error_mv = torch.where(seen, error, torch.inf).float()
        judged = posterior(measured_mv, standard_error_mv)
        return Coupling(
            weights_mv=judged.weights_mv,
            measured_mv=measured_mv,
            standard_error_mv=standard_error_mv,
            probability=judged.probability,
            sender_types=tuple(map(_sender_type, judged.excitatory.tolist())),
            reset=reset,
            delay_profile=profile.float(),
        )


def _sender_type(excitatory: float) -> SenderType:
    if max(excitatory, 1 - excitatory) < _SURE:
        return SenderType.UNKNOWN
    return SenderType.EXCITATORY if excitatory > 0.5 else SenderType.INHIBITORY


def _delay_profile(effects_mv: Float[Tensor, "lag pair"]) -> Float[Tensor, " lag"]:
    """The course that the effects of all pairs have in common: their first principal component, with sum 1."""
    vectors = torch.linalg.eigh(effects_mv @ effects_mv.T).eigenvectors
    first: Tensor = vectors[:, -1]
    return first / first.sum()
