"""Estimates the coupling from what each channel's voltage does, beyond expectation, after the spikes of the others.

Averaged behind each spike of another channel, at each lag, the innovation of a channel gives that pair's effect. The
course in time that all effects share, and how effects are distributed, are learned from all networks together; with
them, a network is judged by as much as there is of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.forecasting.connectivity.connectivity import Connectivity, SenderType
from voltpipe.forecasting.connectivity.mixture_prior import CouplingPrior
from voltpipe.forecasting.connectivity.spike_triggered_average import MeanStepTable, SpikeTriggeredSums
from voltpipe.signals.spike_detection import find_reset_voltage
from voltpipe.windows.split_segments import segments, training_samples_mv, training_segments
from voltpipe.windows.window_set import WindowSet

_SURE = 0.95


@dataclass(frozen=True)
class ConnectivityEstimator:
    """What must be known to judge the coupling of any network whose channels are of the kind that was trained on."""

    mean_steps: MeanStepTable
    delay_profile: Float[Tensor, " lag"]
    prior: CouplingPrior

    def evidence(self, voltage_mv: Float[Tensor, "time channel"]) -> SpikeTriggeredSums:
        """What a stretch of voltages shows."""
        return SpikeTriggeredSums.of(voltage_mv, self.mean_steps, len(self.delay_profile))

    def coupling(
        self, measured_mv: Float[Tensor, "sender receiver"], standard_error_mv: Float[Tensor, "sender receiver"]
    ) -> Connectivity:
        """The coupling that follows from effects measured in a network."""
        judged = self.prior.posterior(measured_mv, standard_error_mv)
        return Connectivity(
            weights_mv=judged.by_type_mv.sum(0),
            measured_mv=measured_mv,
            standard_error_mv=standard_error_mv,
            probability=judged.probability,
            sender_types=tuple(map(_sender_type, judged.excitatory.tolist())),
            reset=self.mean_steps.reset,
            delay_profile=self.delay_profile,
        )


@dataclass(frozen=True)
class TrainingSpikeSums:
    """An estimator, and what the training rows show of each network (organoid)."""

    estimator: ConnectivityEstimator
    networks: tuple[SpikeTriggeredSums, ...]
    folds: dict[tuple[int, int], SpikeTriggeredSums]
    """The same piece by piece, by (network, fold)."""


def estimate_connectivity(window_set: WindowSet, *, n_lags: int) -> TrainingSpikeSums | None:
    """What the training rows show of their networks' coupling, or none where spikes cannot be seen in the voltage.

    Args:
        window_set: of which only the training rows are read.
        n_lags: how many samples after a spike is first seen its effect is looked for.
    """
    values_mv = training_samples_mv(window_set)
    reset = find_reset_voltage(values_mv)
    if reset is None:
        return None
    voltages_mv = (stretch.samples_mv() for stretch in training_segments(window_set, n_before=0, n_after=1))
    mean_steps = MeanStepTable.fit(voltages_mv, ascending_mv=values_mv, reset=reset)
    folds, networks = training_spike_sums(window_set, mean_steps, n_lags)
    delay_profile = _delay_profile(networks)
    measured = [evidence.measured_mv(delay_profile) for evidence in networks]
    prior = CouplingPrior.fit(*map(torch.stack, zip(*measured, strict=True)))
    return TrainingSpikeSums(ConnectivityEstimator(mean_steps, delay_profile, prior), networks, folds)


def training_spike_sums(
    window_set: WindowSet, mean_steps: MeanStepTable, n_lags: int
) -> tuple[dict[tuple[int, int], SpikeTriggeredSums], tuple[SpikeTriggeredSums, ...]]:
    """What the training rows show, by (network, fold) and by network."""
    none = SpikeTriggeredSums.none(n_lags, window_set.n_channels)

    def of_rows(rows: list[Rows]) -> SpikeTriggeredSums:
        # One row before, to see whether a spike is new; lags behind, so that each spike has all of its effect counted.
        pieces = segments(window_set, rows, n_before=1, n_after=n_lags)
        return sum((SpikeTriggeredSums.of(piece.samples_mv(), mean_steps, n_lags) for piece in pieces), none)

    folds = {place: of_rows(rows) for place, rows in Folds(window_set).rows.items()}
    n_networks = len(window_set.training_organoids())
    networks = (sum((folds[network, fold] for fold in range(N_FOLDS)), none) for network in range(n_networks))
    return folds, tuple(networks)


def _sender_type(excitatory: float) -> SenderType:
    if max(excitatory, 1 - excitatory) < _SURE:
        return SenderType.UNKNOWN
    return SenderType.EXCITATORY if excitatory > 0.5 else SenderType.INHIBITORY


def _delay_profile(networks: Iterable[SpikeTriggeredSums]) -> Float[Tensor, " lag"]:
    """The course that the effects of all pairs have in common: their first principal component, with sum 1."""
    effects_mv = torch.cat([evidence.effects_mv()[:, evidence.seen()] for evidence in networks], dim=1)
    vectors = torch.linalg.eigh(effects_mv @ effects_mv.T).eigenvectors
    first: Tensor = vectors[:, -1]
    return (first / first.sum()).float()


N_FOLDS = 5

Rows = tuple[int, int, int]
"""A half-open stretch of rows: (recording, start_row, stop_row)."""


class Folds:
    """The training rows of every network (organoid), each cut into folds of equally many consecutive rows.

    Args:
        window_set: whose training rows are cut.

    Attributes:
        rows: the pieces by (network, fold); networks are numbered as in `window_set.training_organoids()`.
    """

    def __init__(self, window_set: WindowSet) -> None:
        self.rows: dict[tuple[int, int], list[Rows]] = {}
        for network, organoid in enumerate(window_set.training_organoids()):
            spans = [rows for rows in window_set.train_rows() if window_set.recordings[rows[0]].organoid == organoid]
            for fold, pieces in enumerate(_cut(spans, N_FOLDS)):
                self.rows[network, fold] = pieces
        placed = sorted((start, stop, *place) for place, pieces in self.rows.items() for _, start, stop in pieces)
        self._starts, self._stops, self._networks, self._folds = np.array(placed, np.int64).reshape(-1, 4).T

    def of_rows(self, rows: Int64[np.ndarray, " row"]) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " row"]]:
        """The network and the fold of training rows."""
        piece = np.searchsorted(self._starts, rows, side="right") - 1
        assert np.all(rows < self._stops[piece])  # the middle of a training window always lies in one
        return self._networks[piece], self._folds[piece]


def _cut(spans: list[Rows], n_parts: int) -> list[list[Rows]]:
    """Cut consecutive spans at equal shares of all their rows."""
    ends = list(accumulate((stop - start for _, start, stop in spans), initial=0))
    borders = [round(ends[-1] * part / n_parts) for part in range(n_parts + 1)]
    parts = []
    for first, last in pairwise(borders):
        pieces = []
        for (recording, start, stop), before in zip(spans, ends[:-1], strict=True):
            begin, end = max(start, start + first - before), min(stop, start + last - before)
            if begin < end:
                pieces.append((recording, begin, end))
        parts.append(pieces)
    return parts
