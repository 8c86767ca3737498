"""The scores of a predictive distribution, from sums that grow batch by batch."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from voltpipe.evaluation.distribution_score import DistributionScore, ReliabilityBin, SpikeScore
from voltpipe.evaluation.regimes import Regime
from voltpipe.forecasting.forecaster import Forecaster

LEVELS = tuple(step / 40 for step in range(1, 40))
"""The quantiles that are scored: 2.5 % to 97.5 %."""
INTERVALS = tuple(range(5, 100, 5))
"""The central intervals between them, in percent."""
BAND = 80
"""The interval that is drawn and told of."""

_CHANCE_STEPS = 10_000
_RELIABILITY_BINS = 10


def bounds(percent: int) -> tuple[int, int]:
    """Which of `LEVELS` bound a central interval."""
    lower = (100 - percent) // 5 - 1
    return lower, len(LEVELS) - 1 - lower


class DistributionSums:
    """What the scores of one forecaster's distribution in one regime need to know of its targets.

    Args:
        forecaster: one with a distribution.
        n_recordings: recordings in the window set.
        n_channels: channels in the window set.
    """

    def __init__(self, forecaster: Forecaster, n_recordings: int, n_channels: int) -> None:
        assert forecaster.distribution
        self._distribution = forecaster.distribution
        self._horizons = forecaster.horizons
        n_horizons = len(self._horizons)
        self._pinball_mv = torch.zeros(len(LEVELS), n_horizons, dtype=torch.float64)
        self._width_mv, self._covered = torch.zeros(2, len(INTERVALS), n_horizons, dtype=torch.float64)
        self._covered_by_place = torch.zeros(n_recordings, n_horizons, n_channels, dtype=torch.float64)
        self._windows = torch.zeros(n_recordings)
        self._spikes = [SpikeSums() for _ in self._horizons]

    def add(
        self,
        samples_mv: Float[Tensor, "batch time channel"],
        forecast_mv: Float[Tensor, "batch horizon channel"],
        recording: int,
    ) -> None:
        """Take in a batch of windows.

        Args:
            samples_mv: from the last known sample up to the largest horizon.
            forecast_mv: what was forecast.
            recording: number of the recording that all these windows are of.
        """
        present_mv, truth_mv = samples_mv[:, 0], samples_mv[:, list(self._horizons)]
        quantiles_mv = self._distribution.quantiles_mv(present_mv, forecast_mv, LEVELS)
        for row, (level, quantile_mv) in enumerate(zip(LEVELS, quantiles_mv, strict=True)):
            above_mv = truth_mv - quantile_mv
            self._pinball_mv[row] += torch.maximum(level * above_mv, (level - 1) * above_mv).double().sum((0, 2))
        self._windows[recording] += len(samples_mv)
        for row, percent in enumerate(INTERVALS):
            lower_mv, upper_mv = (quantiles_mv[bound] for bound in bounds(percent))
            covered = (truth_mv >= lower_mv) & (truth_mv <= upper_mv)
            self._covered[row] += covered.sum((0, 2))
            self._width_mv[row] += (upper_mv - lower_mv).double().sum((0, 2))
            if percent == BAND:
                self._covered_by_place[recording] += covered.sum(0)
        if self._distribution.sees_spikes:
            chance = self._distribution.spike_chance(present_mv, forecast_mv)
            spiked = self._distribution.spikes_within(samples_mv)
            for number, sums in enumerate(self._spikes):
                sums.add(chance[:, number], spiked[:, number])

    def scores(self, name: str, regime: Regime) -> list[DistributionScore]:
        """The scores at each horizon."""
        n_channels = self._covered_by_place.shape[2]
        n_targets = float(self._windows.sum()) * n_channels
        seen = self._windows > 0
        by_recording = self._covered_by_place[seen].sum(2) / (self._windows[seen, None] * n_channels)
        by_channel = self._covered_by_place.sum(0) / self._windows.sum()
        return [
            DistributionScore(
                forecaster=name,
                regime=regime,
                horizon=horizon,
                crps_mv=2 * float(self._pinball_mv[:, row].sum()) / (n_targets * (len(LEVELS) + 1)),
                pinball_mv=dict(zip(LEVELS, (self._pinball_mv[:, row] / n_targets).tolist(), strict=True)),
                coverage=dict(zip(INTERVALS, (self._covered[:, row] / n_targets).tolist(), strict=True)),
                width_mv=dict(zip(INTERVALS, (self._width_mv[:, row] / n_targets).tolist(), strict=True)),
                coverage80_recordings=(float(by_recording[:, row].min()), float(by_recording[:, row].max())),
                coverage80_channels=(float(by_channel[row].quantile(0.1)), float(by_channel[row].quantile(0.9))),
                spikes=self._spikes[row].score(),
            )
            for row, horizon in enumerate(self._horizons)
        ]


class SpikeSums:
    """Chances and outcomes at one horizon, counted in ten thousand steps of chance."""

    def __init__(self) -> None:
        self._targets, self._spiked, self._chance = torch.zeros(3, _CHANCE_STEPS, dtype=torch.float64)
        self._squared = 0.0

    def add(self, chance: Float[Tensor, "batch channel"], spiked: Bool[Tensor, "batch channel"]) -> None:
        """Take in a batch of windows."""
        chance, outcome = chance.flatten().double(), spiked.flatten().double()
        step = (chance * _CHANCE_STEPS).long().clamp(max=_CHANCE_STEPS - 1)
        self._targets += torch.bincount(step, minlength=_CHANCE_STEPS)
        self._spiked += torch.bincount(step, outcome, minlength=_CHANCE_STEPS)
        self._chance += torch.bincount(step, chance, minlength=_CHANCE_STEPS)
        self._squared += float((chance - outcome).square().sum())

    def score(self) -> SpikeScore | None:
        """The scores; none where no target or every one has a spike."""
        spiked, silent = self._spiked, self._targets - self._spiked
        n_targets, n_spiked, n_silent = (float(counts.sum()) for counts in (self._targets, spiked, silent))
        if not n_spiked or not n_silent:
            return None
        lower = silent.cumsum(0) - silent
        binned = torch.stack([self._targets, self._spiked, self._chance]).reshape(3, _RELIABILITY_BINS, -1).sum(2)
        return SpikeScore(
            rate=n_spiked / n_targets,
            auc=float((spiked * (lower + silent / 2)).sum()) / (n_spiked * n_silent),
            brier=self._squared / n_targets,
            reliability=tuple(
                ReliabilityBin(chance=chance / n, frequency=spikes / n, n_targets=int(n))
                for n, spikes, chance in binned.T.tolist()
                if n
            ),
        )
