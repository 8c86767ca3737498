"""Channel selection by name, quality and count. Only the beginning of the recording decides, as for the z-score."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from voltpipe.recordings.recording import Recording, RecordingError, sample_ranges
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.signals.noise import NoiseSample, is_outlier, noise_level_mv

NOT_KEPT_FACT = "channels_not_kept"
"""Fact that names the channels that conditioning left out."""
_PEAK_QUANTILE = 0.999


@dataclass(frozen=True)
class SelectedChannels:
    """Selected channels of a recording, as a `Recording`."""

    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    n_samples: int
    segment_starts: tuple[int, ...]
    positions_um: Float64[np.ndarray, "channel axis"] | None
    facts: Mapping[str, str | int | float]
    whole: Recording
    columns: Int[np.ndarray, " channel"]

    def read_mv(self, start_sample: int, stop_sample: int) -> Float32[np.ndarray, "time channel"]:
        """Return the samples of the half-open range in mV."""
        return self.whole.read_mv(start_sample, stop_sample)[:, self.columns]


def select_channels(recording: Recording, settings: ConditioningSettings) -> Recording:
    """Return the recording with the channels that the settings keep; the same object if they keep all.

    Raises:
        RecordingError: a channel to keep does not exist, or none is left.
    """
    names = np.array(recording.channel_names)
    missing = [name for name in settings.keep_channels if name not in recording.channel_names]
    if missing:
        raise RecordingError(
            f"keep_channels names channels that do not exist: {', '.join(missing)}. Correct keep_channels.",
            code="channel-unknown",
        )
    kept = np.isin(names, settings.keep_channels) if settings.keep_channels else np.ones(len(names), bool)
    if settings.exclude_bad_channels or settings.channel_count is not None:
        kept = _best(_beginning_mv(recording, settings), kept, settings)
    if not kept.any():
        raise RecordingError(
            "Every channel is bad. Raise bad_channel_ratio, or turn off exclude_bad_channels.", code="channels-all-bad"
        )
    if kept.all():
        return recording
    selected = _selected(recording, np.flatnonzero(kept))
    return replace(selected, facts={**recording.facts, NOT_KEPT_FACT: ", ".join(names[~kept])})


def keep_named_channels(recording: Recording, names: tuple[str, ...]) -> Recording:
    """Return the recording with these channels, in this order; the same object if it matches already."""
    if recording.channel_names == names:
        return recording
    return _selected(recording, np.array([recording.channel_names.index(name) for name in names]))


def _selected(recording: Recording, columns: Int[np.ndarray, " channel"]) -> SelectedChannels:
    return SelectedChannels(
        rate_hz=recording.rate_hz,
        channel_names=tuple(recording.channel_names[column] for column in columns),
        channel_types=tuple(recording.channel_types[column] for column in columns),
        n_samples=recording.n_samples,
        segment_starts=recording.segment_starts,
        positions_um=None if recording.positions_um is None else recording.positions_um[columns],
        facts=recording.facts,
        whole=recording,
        columns=columns,
    )


def _beginning_mv(recording: Recording, settings: ConditioningSettings) -> Float32[np.ndarray, "time channel"]:
    start = min(settings.first_sample(recording.rate_hz), recording.n_samples - 1)
    stop = min(start + settings.calibration_samples(recording.rate_hz), recording.n_samples)
    picked = NoiseSample(start, stop)
    for first, last in sample_ranges(recording, start, stop):
        picked.add(first, recording.read_mv(first, last))
    return picked.samples_mv()


def _best(
    samples_mv: Float32[np.ndarray, "time channel"], kept: Bool[np.ndarray, " channel"], settings: ConditioningSettings
) -> Bool[np.ndarray, " channel"]:
    varies = np.isfinite(samples_mv).all(axis=0) & (samples_mv.min(axis=0) < samples_mv.max(axis=0))
    noise = np.where(varies, noise_level_mv(np.where(varies, samples_mv, np.float32(0))), 0.0)
    if settings.exclude_bad_channels and (kept & varies).any():
        judged = np.flatnonzero(kept & varies)
        kept = kept & varies
        kept[judged[is_outlier(noise[judged], settings.bad_channel_ratio)]] = False
    if settings.channel_count is not None and kept.sum() > settings.channel_count:
        away = np.abs(samples_mv - np.median(samples_mv, axis=0))
        peak = np.quantile(away, _PEAK_QUANTILE, axis=0) / np.maximum(noise, np.finfo(np.float32).tiny)
        ranked = np.argsort(np.where(kept & varies, -peak, np.inf), kind="stable")[: settings.channel_count]
        kept = kept & np.isin(np.arange(len(kept)), ranked)
    return kept
