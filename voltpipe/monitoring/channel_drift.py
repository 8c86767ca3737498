"""Mean, SD and spike rate of each channel, and their drift from the training recordings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Float64

from voltpipe.monitoring.settings import DriftSettings
from voltpipe.recordings.recording import sample_ranges
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording
from voltpipe.signals.noise import NoiseSample, noise_level_mv
from voltpipe.signals.running_statistics import RunningMoments
from voltpipe.signals.spike_detection import ResetVoltage, find_reset_voltage, is_at_reset, spike_onsets

STATISTICS = ("mean_mv", "sd_mv", "spikes_per_s")
_NOISE_SDS = 5.0
"""Distance from the median, in SDs of the noise, beyond which a sample is a spike if no reset voltage is found."""
_MAX_RESET_RECORDINGS = 8
"""Number of recordings in which the reset voltage is searched."""
_FEW_SPIKES = 3.0
"""Number of spikes added to both counts, so that a few chance spikes are no drift."""


class DriftCode(StrEnum):
    """Stable code of the outcome of a drift test."""

    NOT_COMPARABLE = "not-comparable"
    """No training recording has these channels."""
    WITHIN_BOUND = "within-bound"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class ChannelDrift:
    """Share of channels that drifted from the training recordings; NaN if nothing can be compared."""

    code: DriftCode
    shares: dict[str, float]
    """Share of drifted channels, by statistic."""
    any_share: float
    """Share of channels that drifted in any statistic."""

    @property
    def drifted(self) -> bool:
        """Return whether more channels drifted than the bound allows."""
        return self.code is DriftCode.DRIFTED


def find_recording_reset_mv(recordings: Sequence[ConditionedRecording]) -> ResetVoltage | None:
    """Find the reset voltage in samples of at most eight recordings; return None if there is none."""
    samples_mv = np.concatenate([_sampled_mv(recording).ravel() for recording in recordings[:_MAX_RESET_RECORDINGS]])
    return find_reset_voltage(torch.from_numpy(np.sort(samples_mv)))


def channel_statistics(recording: ConditionedRecording, reset: ResetVoltage | None) -> pd.DataFrame:
    """Compute `mean_mv`, `sd_mv` and `spikes_per_s` of each channel over the whole recording (index `channel`).

    A spike is detected when the voltage reaches the reset voltage. Without a reset voltage, it is detected when the
    voltage leaves its median by more than five SDs of the noise.
    """
    moments = RunningMoments(len(recording.channel_names))
    samples_mv = _sampled_mv(recording)
    median_mv, far_mv = np.median(samples_mv, axis=0), _NOISE_SDS * noise_level_mv(samples_mv)
    n_spikes = np.zeros(len(recording.channel_names))
    for start, stop in sample_ranges(recording):
        chunk_mv = recording.read_mv(max(0, start - 1), stop)  # an onset needs the sample before it
        new_mv = chunk_mv[min(start, 1) :]
        moments.add(new_mv, np.ones(new_mv.shape, bool))
        if reset:
            at_spike = is_at_reset(torch.from_numpy(chunk_mv), reset.voltage_mv, reset.tolerance_mv)
        else:
            at_spike = torch.from_numpy(np.abs(chunk_mv - median_mv) > far_mv)
        n_spikes += spike_onsets(at_spike).sum(0).numpy()
    duration_s = recording.n_samples / recording.rate_hz
    return pd.DataFrame(
        {"mean_mv": moments.mean, "sd_mv": moments.sd(), "spikes_per_s": n_spikes / duration_s},
        index=pd.Index(recording.channel_names, name="channel"),
    )


def channel_drift(
    found: pd.DataFrame, known: Mapping[str, pd.DataFrame], duration_s: float, settings: DriftSettings
) -> ChannelDrift:
    """Compare the channels of a recording with the median over the training recordings.

    Args:
        found: `channel_statistics` of the recording.
        known: `channel_statistics` of training recordings of the same organoid, by key.
        duration_s: duration of the recording. Differences of a few spikes in a short recording are ignored.
        settings: bounds beyond which a channel, and a recording, has drifted.
    """
    comparable = [statistics for statistics in known.values() if list(statistics.index) == list(found.index)]
    if not comparable:
        return ChannelDrift(DriftCode.NOT_COMPARABLE, dict.fromkeys(STATISTICS, math.nan), math.nan)
    usual = pd.concat(comparable).groupby(level="channel").median().loc[found.index]
    few = _FEW_SPIKES / duration_s
    drifted = {
        "mean_mv": ((found["mean_mv"] - usual["mean_mv"]).abs() / usual["sd_mv"]).to_numpy() > settings.mean_shift_sd,
        "sd_mv": _ratio(found["sd_mv"], usual["sd_mv"]) > settings.sd_ratio,
        "spikes_per_s": _ratio(found["spikes_per_s"] + few, usual["spikes_per_s"] + few) > settings.rate_ratio,
    }
    any_share = float(np.any(list(drifted.values()), axis=0).mean())
    code = DriftCode.DRIFTED if any_share > settings.drifted_share else DriftCode.WITHIN_BOUND
    return ChannelDrift(code, {name: float(channels.mean()) for name, channels in drifted.items()}, any_share)


def _sampled_mv(recording: ConditionedRecording) -> Float32[np.ndarray, "time channel"]:
    sample = NoiseSample(0, recording.n_samples)
    for start, stop in sample_ranges(recording):
        sample.add(start, recording.read_mv(start, stop))
    return sample.samples_mv()


def _ratio(found: "pd.Series[float]", usual: "pd.Series[float]") -> Float64[np.ndarray, " channel"]:
    ratio = (found / usual).to_numpy()
    return np.asarray(np.maximum(ratio, 1 / ratio))
