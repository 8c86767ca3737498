"""Data for figures beyond the scores: error distributions, and forecasts with the recorded voltage."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from voltpipe.evaluation.accumulators import BAND, LEVELS, bounds
from voltpipe.evaluation.batching import predict_mv, windows_per_batch
from voltpipe.evaluation.regimes import Regime
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.progress import EpochRecord
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet, to_mv

EXAMPLE_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95)
CHANNEL_QUANTILES = (0.1, 0.5, 0.9)
STRETCH_SAMPLES = 250
N_WORST = 20
_ERROR_BINS, _ERROR_SPAN_SD = 121, 6
_JOINT_BINS, _JOINT_SPAN_SD = 100, 5


@dataclass(frozen=True)
class Example:
    """One held-out window of one channel, with its forecast."""

    recording: str
    channel: str
    origin_s: float
    """Time of the last history sample, in s from the start of the conditioned recording."""
    error_quantile: float
    """Rank of its squared error among all windows and among the channels of its window, from 0 (smallest) to 1."""
    history_mv: Float32[np.ndarray, " context"]
    truth_mv: Float32[np.ndarray, " time"]
    """Every sample up to the largest horizon."""
    forecast_mv: Float32[np.ndarray, " horizon"]
    band_mv: Float32[np.ndarray, "2 horizon"] | None
    """The ends of the 80 % interval; None for a forecaster without a predictive distribution."""


@dataclass(frozen=True)
class ExampleSegment:
    """Some channels over a held-out stretch, with a forecast made at every sample."""

    recording: str
    start_s: float
    """Time of the first sample, in s from the start of the conditioned recording."""
    channels: tuple[str, ...]
    truth_mv: Float32[np.ndarray, "time channel"]
    forecast_mv: Float32[np.ndarray, "time horizon channel"]
    """Made when the sample at `time` was the last known one."""


@dataclass(frozen=True)
class FigureData:
    """Figure data of one regime. Horizons and channels are those of the forecaster."""

    regime: Regime
    horizons: tuple[int, ...]
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    r2_by_channel: dict[str, Float64[np.ndarray, "horizon channel"]]
    """R2 of each channel by forecaster or baseline; NaN for a channel that stays at its training mean."""
    error_edges_mv: Float64[np.ndarray, " edge"]
    error_counts: Int64[np.ndarray, "horizon bin"]
    joint_edges_mv: Float64[np.ndarray, " joint_edge"]
    joint_counts: Int64[np.ndarray, "truth forecast"]
    """Targets at the shortest horizon by their true and their forecast voltage."""
    examples: tuple[Example, ...]
    worst: tuple[Example, ...]
    """The largest errors at the shortest horizon."""
    stretch: ExampleSegment | None
    """None where no stretch was held out in one piece."""
    history: tuple[EpochRecord, ...]
    """The training's epochs."""


@dataclass(frozen=True)
class ErrorCounts:
    """Histograms of the forecaster's errors, growing batch by batch and recording by recording."""

    error_edges_mv: Float64[np.ndarray, " edge"]
    joint_edges_mv: Float64[np.ndarray, " joint_edge"]
    error_counts: Int64[np.ndarray, "horizon bin"]
    joint_counts: Int64[np.ndarray, "truth forecast"]
    window_squared_error: list[Tensor] = field(default_factory=list)
    largest_squared_error: list[Tensor] = field(default_factory=list)
    """At the shortest horizon, of each window's worst channel."""

    @classmethod
    def of(cls, n_horizons: int, window_set: WindowSet) -> "ErrorCounts":
        """Return empty counts. Bins depend on calibrations alone, so evaluations on one window set share them."""
        mean_mv, sd_mv = window_set.calibration_mv(np.arange(len(window_set.recordings)))
        typical_sd_mv = sd_mv.median().item()
        half_mv = _ERROR_SPAN_SD * typical_sd_mv
        margin_mv = _JOINT_SPAN_SD * typical_sd_mv
        return cls(
            np.linspace(-half_mv, half_mv, _ERROR_BINS + 1),
            np.linspace(mean_mv.min().item() - margin_mv, mean_mv.max().item() + margin_mv, _JOINT_BINS + 1),
            np.zeros((n_horizons, _ERROR_BINS), np.int64),
            np.zeros((_JOINT_BINS, _JOINT_BINS), np.int64),
        )

    def emptied(self) -> "ErrorCounts":
        """Return empty counts in the same bins."""
        return ErrorCounts(
            self.error_edges_mv,
            self.joint_edges_mv,
            np.zeros_like(self.error_counts),
            np.zeros_like(self.joint_counts),
        )

    def include(self, others: "ErrorCounts") -> None:
        """Take in what others took in."""
        self.error_counts[:] += others.error_counts
        self.joint_counts[:] += others.joint_counts
        self.window_squared_error.extend(others.window_squared_error)
        self.largest_squared_error.extend(others.largest_squared_error)

    def add(
        self, forecast_mv: Float[Tensor, "batch horizon channel"], truth_mv: Float[Tensor, "batch horizon channel"]
    ) -> None:
        """Take in a batch of windows."""
        error_mv = forecast_mv - truth_mv
        for horizon, counts in enumerate(self.error_counts):
            counts += np.histogram(error_mv[:, horizon].numpy(), self.error_edges_mv)[0]
        first = (truth_mv[:, 0].numpy().ravel(), forecast_mv[:, 0].numpy().ravel())
        self.joint_counts[:] += np.histogram2d(*first, bins=self.joint_edges_mv)[0].astype(np.int64)
        self.window_squared_error.append(error_mv.square().mean((1, 2)))
        self.largest_squared_error.append(error_mv[:, 0].square().amax(1))


def _nearest_rank(values: Float[Tensor, " value"], quantile: float) -> int:
    return int(values.argsort()[round(quantile * (len(values) - 1))])


def choose_examples(
    used: Callable[[int], Forecaster],
    window_set: WindowSet,
    windows: Int64[np.ndarray, " window"],
    window_squared_error: Float[Tensor, " window"],
) -> tuple[Example, ...]:
    """Windows from easy to hard, by a fixed rule: at given quantiles of the error over windows, then over channels.

    `used` gives the forecaster for a recording.
    """
    ranks = [_nearest_rank(window_squared_error, quantile) for quantile in EXAMPLE_QUANTILES]
    return tuple(
        _example(used, window_set, windows[rank], quantile)
        for rank, quantile in zip(ranks, EXAMPLE_QUANTILES, strict=True)
    )


def choose_worst(
    used: Callable[[int], Forecaster],
    window_set: WindowSet,
    windows: Int64[np.ndarray, " window"],
    largest_squared_error: Float[Tensor, " window"],
) -> tuple[Example, ...]:
    """The forecasts at the shortest horizon that erred most, the worst first, no two of windows that overlap.

    `largest_squared_error` is that of each window's worst channel.
    """
    chosen: list[int] = []
    for place in largest_squared_error.argsort(descending=True).tolist():
        window = int(windows[place])
        starts = window_set.index["start_row"][[window, *chosen]].astype(np.int64)
        if (abs(starts[1:] - starts[0]) >= window_set.settings.window_samples).all():
            chosen.append(window)
        if len(chosen) == N_WORST:
            break
    return tuple(_example(used, window_set, window, 1.0, n_horizons=1) for window in chosen)


def _example(
    used: Callable[[int], Forecaster],
    window_set: WindowSet,
    window: int | np.integer,
    quantile: float,
    n_horizons: int | None = None,
) -> Example:
    """The channel of a window whose squared error over the first horizons has the given rank."""
    entry = window_set.index[window]
    forecaster = used(int(entry["recording"]))
    horizon_rows = [window_set.horizons.index(horizon) for horizon in forecaster.horizons]
    batch = window_set.batch([int(window)])
    forecast_mv = predict_mv(forecaster, batch)
    error_mv = (forecast_mv - batch.target_mv()[:, horizon_rows])[0, :n_horizons]
    channel = _nearest_rank(error_mv.square().mean(0), quantile)
    samples_z = window_set.segment(np.array([window]), window_set.settings.window_samples)[0, :, channel]
    samples_mv = to_mv(samples_z, batch.mean_mv[0, channel], batch.sd_mv[0, channel]).numpy()
    recording = window_set.recordings[entry["recording"]]
    last_known_row = int(entry["start_row"]) + window_set.context - 1
    present_mv = batch.history_mv()[:, -1]
    return Example(
        recording=recording.key,
        channel=window_set.channel_names[channel],
        origin_s=(last_known_row - recording.start_row) / window_set.rate_hz,
        error_quantile=quantile,
        history_mv=samples_mv[: window_set.context],
        truth_mv=samples_mv[window_set.context : window_set.context + forecaster.horizons[-1]],
        forecast_mv=forecast_mv[0, :, channel].numpy(),
        band_mv=band_mv(forecaster, present_mv, forecast_mv)[:, 0, :, channel].numpy()
        if forecaster.distribution
        else None,
    )


def band_mv(
    forecaster: Forecaster,
    present_mv: Float[Tensor, "*batch channel"],
    forecast_mv: Float[Tensor, "*batch horizon channel"],
) -> Float[Tensor, "2 *batch horizon channel"]:
    """The ends of the 80 % interval of a forecaster that has a distribution."""
    assert forecaster.distribution
    return forecaster.distribution.quantiles_mv(present_mv, forecast_mv, [LEVELS[end] for end in bounds(BAND)])


def choose_stretch(
    used: Callable[[int], Forecaster],
    window_set: WindowSet,
    windows: Int64[np.ndarray, " window"],
    r2_by_channel: Float64[np.ndarray, " channel"],
) -> ExampleSegment | None:
    """The middle of the longest span from one of the windows on, for the channels at given quantiles of R2.

    None where no window lies in a span of one split.
    """
    origins = []
    starts = window_set.index["start_row"][windows]
    for number, start_row, stop_row, split in window_set.manifest.spans:
        inside = starts[(starts >= start_row) & (starts < stop_row)]
        if len(inside) and split != Split.TRAIN:
            first_row = max(int(inside[0]) + window_set.context, window_set.recordings[number].calibration_stop_row)
            origins.append((stop_row - first_row, number, first_row))
    room, number, first_row = max(origins, default=(0, 0, 0))
    n_samples = min(room, STRETCH_SAMPLES)
    if n_samples < 2:
        return None
    first_row += (room - n_samples) // 2
    forecaster = used(number)
    context = forecaster.config.context_samples
    samples_z = window_set.samples_z[first_row - context + 1 : first_row + n_samples]
    mean_mv, sd_mv = window_set.calibration_mv(np.full(n_samples, number))
    history_z = samples_z.unfold(0, context, 1).transpose(1, 2)
    size = windows_per_batch(window_set)
    parts = (slice(start, start + size) for start in range(0, n_samples, size))
    forecast_z = torch.cat([forecaster.predict_z(history_z[part], mean_mv[part], sd_mv[part]) for part in parts])
    forecast_mv = to_mv(forecast_z, mean_mv, sd_mv)
    truth_mv = to_mv(samples_z[context - 1 :], mean_mv, sd_mv)
    r2 = torch.from_numpy(np.nan_to_num(r2_by_channel, nan=-np.inf))
    channels = list(dict.fromkeys(_nearest_rank(r2, quantile) for quantile in CHANNEL_QUANTILES))
    recording = window_set.recordings[number]
    return ExampleSegment(
        recording=recording.key,
        start_s=(first_row - recording.start_row) / window_set.rate_hz,
        channels=tuple(window_set.channel_names[channel] for channel in channels),
        truth_mv=truth_mv[:, channels].numpy(),
        forecast_mv=forecast_mv[..., channels].numpy(),
    )
