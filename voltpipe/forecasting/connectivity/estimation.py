"""Estimation of connectivity from the voltage that follows the spikes of other channels.

The effect of one channel on another is the mean innovation of the receiver at each lag after the sender's spikes. The
delay profile, which all effects share, and the distribution of the effects are fitted on all training organoids
together. With them, an organoid can be estimated from any amount of data.
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

N_FOLDS = 5
_CERTAIN = 0.95
"""Posterior probability from which a sender's type is reported."""

Rows = tuple[int, int, int]
"""Half-open range of rows: (recording, start_row, stop_row)."""


@dataclass(frozen=True)
class ConnectivityEstimator:
    """Estimator of connectivity for any organoid whose channels are like those of the training organoids."""

    mean_steps: MeanStepTable
    delay_profile: Float[Tensor, " lag"]
    prior: CouplingPrior

    def spike_triggered_sums(self, voltage_mv: Float[Tensor, "time channel"]) -> SpikeTriggeredSums:
        """Compute the spike-triggered sums of a segment in mV."""
        return SpikeTriggeredSums.of(voltage_mv, self.mean_steps, len(self.delay_profile))

    def connectivity(
        self, measured_mv: Float[Tensor, "sender receiver"], standard_error_mv: Float[Tensor, "sender receiver"]
    ) -> Connectivity:
        """Estimate the connectivity of an organoid from its measured effects in mV."""
        posterior = self.prior.posterior(measured_mv, standard_error_mv)
        return Connectivity(
            weights_mv=posterior.by_type_mv.sum(0),
            measured_mv=measured_mv,
            standard_error_mv=standard_error_mv,
            probability=posterior.probability,
            sender_types=tuple(map(_sender_type, posterior.excitatory.tolist())),
            reset=self.mean_steps.reset,
            delay_profile=self.delay_profile,
        )


def _sender_type(excitatory: float) -> SenderType:
    if max(excitatory, 1 - excitatory) < _CERTAIN:
        return SenderType.UNKNOWN
    return SenderType.EXCITATORY if excitatory > 0.5 else SenderType.INHIBITORY


@dataclass(frozen=True)
class TrainingSpikeSums:
    """An estimator, and the spike-triggered sums of the training rows."""

    estimator: ConnectivityEstimator
    by_organoid: tuple[SpikeTriggeredSums, ...]
    by_fold: dict[tuple[int, int], SpikeTriggeredSums]
    """Sums by (organoid, fold)."""


def estimate_connectivity(window_set: WindowSet, *, n_lags: int) -> TrainingSpikeSums | None:
    """Fit a connectivity estimator on the training rows; return None if the voltage shows no spikes.

    Args:
        window_set: source of the training rows; no other rows are read.
        n_lags: number of samples after a spike onset in which its effect may arrive.
    """
    samples_mv = training_samples_mv(window_set)
    reset = find_reset_voltage(samples_mv)
    if reset is None:
        return None
    voltages_mv = (segment.samples_mv() for segment in training_segments(window_set, n_before=0, n_after=1))
    mean_steps = MeanStepTable.fit(voltages_mv, ascending_mv=samples_mv, reset=reset)
    by_fold, by_organoid = training_spike_sums(window_set, mean_steps, n_lags)
    delay_profile = _delay_profile(by_organoid)
    measured = [sums.measured_mv(delay_profile) for sums in by_organoid]
    prior = CouplingPrior.fit(*map(torch.stack, zip(*measured, strict=True)))
    return TrainingSpikeSums(ConnectivityEstimator(mean_steps, delay_profile, prior), by_organoid, by_fold)


def training_spike_sums(
    window_set: WindowSet, mean_steps: MeanStepTable, n_lags: int
) -> tuple[dict[tuple[int, int], SpikeTriggeredSums], tuple[SpikeTriggeredSums, ...]]:
    """Compute the spike-triggered sums of the training rows, by (organoid, fold) and by organoid."""
    zeros = SpikeTriggeredSums.zeros(n_lags, window_set.n_channels)

    def of_rows(rows: list[Rows]) -> SpikeTriggeredSums:
        # One row before detects onsets in the first row; the lags behind complete the effects of the last spikes.
        parts = segments(window_set, rows, n_before=1, n_after=n_lags)
        return sum((SpikeTriggeredSums.of(segment.samples_mv(), mean_steps, n_lags) for segment in parts), zeros)

    by_fold = {place: of_rows(rows) for place, rows in Folds(window_set).rows.items()}
    n_organoids = len(window_set.training_organoids())
    by_organoid = (sum((by_fold[organoid, fold] for fold in range(N_FOLDS)), zeros) for organoid in range(n_organoids))
    return by_fold, tuple(by_organoid)


def _delay_profile(by_organoid: Iterable[SpikeTriggeredSums]) -> Float[Tensor, " lag"]:
    """Return the time course that all effects share: their first principal component, normalized to sum 1."""
    effects_mv = torch.cat([sums.effects_mv()[:, sums.measurable_pairs()] for sums in by_organoid], dim=1)
    vectors = torch.linalg.eigh(effects_mv @ effects_mv.T).eigenvectors
    first: Tensor = vectors[:, -1]
    return (first / first.sum()).float()


class Folds:
    """Training rows of each organoid, cut into folds with equal numbers of consecutive rows.

    Args:
        window_set: source of the training rows.

    Attributes:
        rows: row ranges by (organoid, fold); organoids are numbered as in `window_set.training_organoids()`.
    """

    def __init__(self, window_set: WindowSet) -> None:
        self.rows: dict[tuple[int, int], list[Rows]] = {}
        for number, organoid in enumerate(window_set.training_organoids()):
            spans = [rows for rows in window_set.train_rows() if window_set.recordings[rows[0]].organoid == organoid]
            for fold, ranges in enumerate(_cut(spans, N_FOLDS)):
                self.rows[number, fold] = ranges
        placed = sorted((start, stop, *place) for place, ranges in self.rows.items() for _, start, stop in ranges)
        self._starts, self._stops, self._organoids, self._folds = np.array(placed, np.int64).reshape(-1, 4).T

    def of_rows(self, rows: Int64[np.ndarray, " row"]) -> tuple[Int64[np.ndarray, " row"], Int64[np.ndarray, " row"]]:
        """Return the organoid and the fold of each of these training rows."""
        position = np.searchsorted(self._starts, rows, side="right") - 1
        assert np.all(rows < self._stops[position])  # the middle of a training window is always a training row
        return self._organoids[position], self._folds[position]


def _cut(spans: list[Rows], n_parts: int) -> list[list[Rows]]:
    """Cut row ranges into parts with equal numbers of rows."""
    ends = list(accumulate((stop - start for _, start, stop in spans), initial=0))
    borders = [round(ends[-1] * part / n_parts) for part in range(n_parts + 1)]
    parts = []
    for first, last in pairwise(borders):
        ranges = []
        for (recording, start, stop), before in zip(spans, ends[:-1], strict=True):
            begin, end = max(start, start + first - before), min(stop, start + last - before)
            if begin < end:
                ranges.append((recording, begin, end))
        parts.append(ranges)
    return parts
