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
_ASKED = 8
_FEW_SPIKES = 3.0
"""Number of spikes by which counts may differ by chance."""


class DriftCode(StrEnum):
    """Stable code of a judgement on a recording's channels."""

    NOT_COMPARABLE = "not-comparable"
    """No training recording has these channels."""
    WITHIN_BOUND = "within-bound"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class ChannelDrift:
    """Share of channels that moved away from the training recordings. Shares are NaN if nothing can be compared."""

    code: DriftCode
    shares: dict[str, float]
    """By statistic."""
    any_share: float
    """Of channels that moved in any statistic."""

    @property
    def drifted(self) -> bool:
        """Whether more channels moved than the bound allows."""
        return self.code is DriftCode.DRIFTED


def find_recording_reset_mv(recordings: Sequence[ConditionedRecording]) -> ResetVoltage | None:
    """Find the reset voltage after a spike in samples of at most eight recordings; None if there is none."""
    samples_mv = np.concatenate([_picked_mv(recording).ravel() for recording in recordings[:_ASKED]])
    return find_reset_voltage(torch.from_numpy(np.sort(samples_mv)))


def channel_statistics(recording: ConditionedRecording, reset: ResetVoltage | None) -> pd.DataFrame:
    """Compute `mean_mv`, `sd_mv` and `spikes_per_s` over the whole recording, a row a channel (index `channel`).

    A spike is where the voltage reaches the reset voltage. Without one, it is where the voltage leaves its median by
    more than five SDs of the noise.
    """
    moments = RunningMoments(len(recording.channel_names))
    samples_mv = _picked_mv(recording)
    median_mv, far_mv = np.median(samples_mv, axis=0), _NOISE_SDS * noise_level_mv(samples_mv)
    n_spikes = np.zeros(len(recording.channel_names))
    for start, stop in sample_ranges(recording):
        chunk_mv = recording.read_mv(max(0, start - 1), stop)  # an onset needs the sample before it
        new_mv = chunk_mv[min(start, 1) :]
        moments.add(new_mv, np.ones(new_mv.shape, bool))
        if reset:
            at = is_at_reset(torch.from_numpy(chunk_mv), reset.voltage_mv, reset.tolerance_mv)
        else:
            at = torch.from_numpy(np.abs(chunk_mv - median_mv) > far_mv)
        n_spikes += spike_onsets(at).sum(0).numpy()
    duration_s = recording.n_samples / recording.rate_hz
    return pd.DataFrame(
        {"mean_mv": moments.mean, "sd_mv": moments.sd(), "spikes_per_s": n_spikes / duration_s},
        index=pd.Index(recording.channel_names, name="channel"),
    )


def channel_drift(
    found: pd.DataFrame, known: Mapping[str, pd.DataFrame], duration_s: float, settings: DriftSettings
) -> ChannelDrift:
    """Measure how many channels of a recording moved away from the median of the training recordings.

    Args:
        found: `channel_statistics` of the recording.
        known: the same of training recordings of the same organoid, by key.
        duration_s: of the recording; few spikes in a short one tell little.
        settings: bounds.
    """
    alike = [each for each in known.values() if list(each.index) == list(found.index)]
    if not alike:
        return ChannelDrift(DriftCode.NOT_COMPARABLE, dict.fromkeys(STATISTICS, math.nan), math.nan)
    usual = pd.concat(alike).groupby(level="channel").median().loc[found.index]
    few = _FEW_SPIKES / duration_s
    moved = {
        "mean_mv": ((found["mean_mv"] - usual["mean_mv"]).abs() / usual["sd_mv"]).to_numpy() > settings.mean_shift_sd,
        "sd_mv": _factor(found["sd_mv"], usual["sd_mv"]) > settings.sd_ratio,
        "spikes_per_s": _factor(found["spikes_per_s"] + few, usual["spikes_per_s"] + few) > settings.rate_ratio,
    }
    any_share = float(np.any(list(moved.values()), axis=0).mean())
    code = DriftCode.DRIFTED if any_share > settings.drifted_share else DriftCode.WITHIN_BOUND
    return ChannelDrift(code, {name: float(each.mean()) for name, each in moved.items()}, any_share)


def _picked_mv(recording: ConditionedRecording) -> Float32[np.ndarray, "time channel"]:
    picked = NoiseSample(0, recording.n_samples)
    for start, stop in sample_ranges(recording):
        picked.add(start, recording.read_mv(start, stop))
    return picked.samples_mv()


def _factor(found: "pd.Series[float]", usual: "pd.Series[float]") -> Float64[np.ndarray, " channel"]:
    ratio = (found / usual).to_numpy()
    return np.asarray(np.maximum(ratio, 1 / ratio))
