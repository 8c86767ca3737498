"""The scores of a predictive distribution, from sums that grow batch by batch and recording by recording."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from voltpipe.evaluation.regimes import Regime
from voltpipe.evaluation.results import DistributionScore, EvaluationError, RecordingErrors, ReliabilityBin, SpikeScore
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import WindowSet

LEVELS = tuple(step / 40 for step in range(1, 40))
"""The quantiles that are scored: 2.5 % to 97.5 %."""
INTERVALS = tuple(range(5, 100, 5))
"""The central intervals between them, in percent."""
BAND = 80
"""The interval that is drawn and told of."""

_CHANCE_STEPS = 10_000
_RELIABILITY_BINS = 10


def bounds(percent: int) -> tuple[int, int]:
    """Return the positions in `LEVELS` of the bounds of a central interval."""
    lower = (100 - percent) // 5 - 1
    return lower, len(LEVELS) - 1 - lower


class DistributionSums:
    """Accumulator for the scores of one forecaster's predictive distribution in one regime.

    Args:
        forecaster: a forecaster with a distribution.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        assert forecaster.distribution
        self._distribution = forecaster.distribution
        self._horizons = forecaster.horizons
        n_horizons = len(self._horizons)
        self._pinball_mv = torch.zeros(len(LEVELS), n_horizons, dtype=torch.float64)
        self._width_mv, self._covered = torch.zeros(2, len(INTERVALS), n_horizons, dtype=torch.float64)
        self._covered_by_place: dict[int, Tensor] = {}
        """Number of truths inside the interval by recording (horizon, channel)."""
        self._windows: dict[int, int] = {}
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
        self._windows[recording] = self._windows.get(recording, 0) + len(samples_mv)
        for row, percent in enumerate(INTERVALS):
            lower_mv, upper_mv = (quantiles_mv[bound] for bound in bounds(percent))
            covered = (truth_mv >= lower_mv) & (truth_mv <= upper_mv)
            self._covered[row] += covered.sum((0, 2))
            self._width_mv[row] += (upper_mv - lower_mv).double().sum((0, 2))
            if percent == BAND:
                self._covered_by_place[recording] = self._covered_by_place.get(recording, 0) + covered.sum(0)
        if self._distribution.sees_spikes:
            chance = self._distribution.spike_chance(present_mv, forecast_mv)
            spiked = self._distribution.spikes_within(samples_mv)
            for number, sums in enumerate(self._spikes):
                sums.add(chance[:, number], spiked[:, number])

    def include(self, others: "DistributionSums") -> None:
        """Take in what others took in, of other recordings."""
        self._pinball_mv += others._pinball_mv
        self._width_mv += others._width_mv
        self._covered += others._covered
        self._covered_by_place |= others._covered_by_place
        self._windows |= others._windows
        for sums, other in zip(self._spikes, others._spikes, strict=True):
            sums.include(other)

    def scores(self, name: str, regime: Regime) -> list[DistributionScore]:
        """The scores at each horizon."""
        covered_by_place = torch.stack(list(self._covered_by_place.values())).double()
        windows = torch.tensor(list(self._windows.values()), dtype=torch.float64)
        n_targets = float(windows.sum()) * covered_by_place.shape[2]
        by_recording = covered_by_place.mean(2) / windows[:, None]
        by_channel = covered_by_place.sum(0) / windows.sum()
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

    def include(self, others: "SpikeSums") -> None:
        """Take in what others took in."""
        self._targets += others._targets
        self._spiked += others._spiked
        self._chance += others._chance
        self._squared += others._squared

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


class ErrorSums:
    """Accumulator for R2, RMSE and MAE of one forecaster in one regime.

    R2 = 1 - SSE / SST in mV. SST is taken about each channel's *training* mean, so a forecaster that knows only that
    mean has R2 = 0.

    Args:
        n_horizons: number of horizons.
        train_mean_mv: mean of each channel over the training samples.
    """

    def __init__(self, n_horizons: int, train_mean_mv: Float[Tensor, " channel"]) -> None:
        self._train_mean_mv = train_mean_mv
        self._squared, self._absolute, self._total = np.zeros((3, n_horizons, len(train_mean_mv)))
        self._n_windows = 0

    def add(
        self, forecast_mv: Float[Tensor, "batch horizon channel"], truth_mv: Float[Tensor, "batch horizon channel"]
    ) -> None:
        """Take in a batch of windows."""
        error_mv = (forecast_mv - truth_mv).double()
        self._squared += error_mv.square().sum(0).numpy()
        self._absolute += error_mv.abs().sum(0).numpy()
        self._total += (truth_mv - self._train_mean_mv).double().square().sum(0).numpy()
        self._n_windows += len(error_mv)

    def include(self, others: "ErrorSums") -> None:
        """Take in what others took in."""
        self._squared += others._squared
        self._absolute += others._absolute
        self._total += others._total
        self._n_windows += others._n_windows

    def of_channels(
        self, chosen: Bool[np.ndarray, " channel"]
    ) -> tuple[Float64[np.ndarray, " horizon"], Float64[np.ndarray, " horizon"], int]:
        """SSE and SST in mV squared, and the scored values at each horizon, of some of the channels."""
        squared, total = (sums[:, chosen].sum(1) for sums in (self._squared, self._total))
        return squared, total, self._n_windows * int(chosen.sum())

    @property
    def n_targets(self) -> int:
        """Scored values at each horizon: windows times channels."""
        return self._n_windows * len(self._train_mean_mv)

    def r2(self) -> Float64[np.ndarray, " horizon"]:
        """R2 pooled over all channels.

        Raises:
            EvaluationError: R2 does not exist, because a forecast is not finite or no target varies.
        """
        if not np.isfinite(self._squared).all():
            raise EvaluationError(
                "A forecast is NaN or infinite on held-out windows. Expected finite mV everywhere. "
                "Look at the training's loss and at the recordings' quality.",
                code="forecast-not-finite",
            )
        if not self._total.sum(1).all():
            raise EvaluationError(
                "Every held-out target equals its channel's training mean. Expected voltage that varies. "
                "Look at the recordings that are held out.",
                code="targets-constant",
            )
        return np.asarray(1 - self._squared.sum(1) / self._total.sum(1))

    def r2_by_channel(self) -> Float64[np.ndarray, "horizon channel"]:
        """R2 of each channel on its own; NaN for a channel that never leaves its training mean."""
        return np.asarray(1 - self._squared / np.where(self._total > 0, self._total, np.nan))

    def rmse_mv(self) -> Float64[np.ndarray, " horizon"]:
        """Root of the mean squared error."""
        return np.asarray(np.sqrt(self._squared.sum(1) / self.n_targets))

    def mae_mv(self) -> Float64[np.ndarray, " horizon"]:
        """Mean of the absolute error."""
        return np.asarray(self._absolute.sum(1) / self.n_targets)


@dataclass(frozen=True)
class ForecasterSums:
    """The errors over all recordings, those on each, and what the predictive distribution needs."""

    errors: ErrorSums
    distribution: DistributionSums | None
    of_type: dict[tuple[int, str], tuple[np.ndarray, np.ndarray, int]] = field(default_factory=dict)
    """SSE, SST and number of targets, by the recording's number and the channels' type."""

    @classmethod
    def of(cls, contender: Forecaster, window_set: WindowSet) -> "ForecasterSums":
        """Return empty accumulators."""
        errors = ErrorSums(len(contender.horizons), window_set.train_mean_mv())
        return cls(errors, DistributionSums(contender) if contender.distribution else None)

    def add(
        self,
        samples_mv: Float[Tensor, "batch time channel"],
        forecast_mv: Float[Tensor, "batch horizon channel"],
        truth_mv: Float[Tensor, "batch horizon channel"],
        recording: int,
    ) -> None:
        """Take in a batch of windows of one recording; samples are those from the last known one on."""
        self.errors.add(forecast_mv, truth_mv)
        if self.distribution:
            self.distribution.add(samples_mv, forecast_mv, recording)

    def include(self, others: "ForecasterSums", recording: int, channel_types: Sequence[str]) -> None:
        """Take in the sums of a whole recording."""
        self.errors.include(others.errors)
        if self.distribution and others.distribution:
            self.distribution.include(others.distribution)
        for kind in dict.fromkeys(channel_types):
            of_kind = np.array([each == kind for each in channel_types])
            self.of_type[recording, kind] = others.errors.of_channels(of_kind)

    def by_recording(
        self, name: str, regime: Regime, horizons: Sequence[int], window_set: WindowSet
    ) -> Iterator[RecordingErrors]:
        """The errors on each recording and type of channel."""
        for (number, channel_type), (squared_error_mv2, total_mv2, n_targets) in self.of_type.items():
            yield RecordingErrors(
                forecaster=name,
                regime=regime,
                recording=window_set.recordings[number].key,
                channel_type=channel_type,
                horizons=tuple(horizons),
                squared_error_mv2=tuple(squared_error_mv2),
                total_mv2=tuple(total_mv2),
                n_targets=n_targets,
            )
