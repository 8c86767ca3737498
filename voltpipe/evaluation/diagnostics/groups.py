"""Into which groups the targets of an evaluation fall: by channel, by moment, by what the channel is about to do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from voltpipe.forecasting.connectivity.connectivity import Connectivity, SenderType
from voltpipe.signals.spike_detection import ResetVoltage, find_reset_voltage, is_at_reset, spike_onsets
from voltpipe.windows.split_segments import training_samples_mv, training_segments
from voltpipe.windows.window_set import WindowSet

_VOLTAGE_SHARES = (0.2, 0.4, 0.6, 0.8)
_RATE_SHARES = (1 / 3, 2 / 3)
_STATE_SHARES = (0.1, 0.9)
_SINCE_SPIKE_MS = (2.5, 5.0, 10.0, 20.0)
_STATE_MS = 10.0
_QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")


@dataclass(frozen=True)
class TargetTimes:
    """Some windows of one recording: what was known when each of their forecasts was made."""

    history_mv: Float[Tensor, "window context channel"]
    recording: int
    """Its number in the window set."""
    origin_rows: Int64[np.ndarray, " window"]
    """The row of the last known sample."""


@dataclass(frozen=True)
class Grouping:
    """One way to divide targets: the groups' names, and which group each channel of each window falls into."""

    kind: str
    names: tuple[str, ...]
    group_of: Callable[[TargetTimes], Int64[Tensor, "window channel"]]
    """Group of each target, as position in `names`."""


def groupings(window_set: WindowSet, couplings: Mapping[str, Connectivity] | None = None) -> tuple[Grouping, ...]:
    """The ways to divide the targets of a window set; what needs visible spikes is left out where there are none.

    Borders (of voltages, rates, states) come from the training rows alone.

    Args:
        window_set: whose targets are divided.
        couplings: what a forecaster found of who drives whom, by organoid: a channel's type is inferred from what its
            spikes do to others.
    """
    values_mv = training_samples_mv(window_set)
    found = [
        _by_channel("channel", window_set.channel_names, window_set.channel_names),
        _by_channel("neuron type", window_set.channel_types, tuple(dict.fromkeys(window_set.channel_types))),
        _by_recording("recording", [recording.key for recording in window_set.recordings]),
        _by_recording("organoid", [recording.organoid for recording in window_set.recordings]),
        _by_recording("condition", [recording.condition or "not said" for recording in window_set.recordings]),
        _by_inferred_type(window_set, couplings or {}),
        Grouping("part of the recording", _QUARTERS, _quarter_of(window_set)),
        _by_voltage(values_mv),
    ]
    reset = find_reset_voltage(values_mv)
    if reset:
        found += [_by_rate(window_set, reset), _by_time_since_spike(window_set, reset), _by_state(window_set, reset)]
    return tuple(grouping for grouping in found if len(grouping.names) > 1)


def _by_channel(kind: str, label_of_channel: Sequence[str], names: Sequence[str]) -> Grouping:
    groups = torch.tensor([names.index(label) for label in label_of_channel])
    return Grouping(kind, tuple(names), lambda moments: groups.expand(len(moments.history_mv), -1))


def _by_inferred_type(window_set: WindowSet, couplings: Mapping[str, Connectivity]) -> Grouping:
    kinds = list(SenderType)
    unknown = torch.full((window_set.n_channels,), kinds.index(SenderType.UNKNOWN))
    of_organoid = {
        organoid: torch.tensor([kinds.index(kind) for kind in coupling.sender_types])
        for organoid, coupling in couplings.items()
    }
    of_recording = [of_organoid.get(recording.organoid, unknown) for recording in window_set.recordings]

    def group_of(moments: TargetTimes) -> Int64[Tensor, "window channel"]:
        return of_recording[moments.recording].expand(len(moments.history_mv), -1)

    return Grouping("inferred type", tuple(kind.value for kind in kinds) if couplings else (), group_of)


def _by_recording(kind: str, label_of_recording: Sequence[str]) -> Grouping:
    names = list(dict.fromkeys(label_of_recording))
    groups = [names.index(label) for label in label_of_recording]
    return Grouping(kind, tuple(names), lambda moments: _all(moments, groups[moments.recording]))


def _all(moments: TargetTimes, group: int) -> Int64[Tensor, "window channel"]:
    n_windows, _, n_channels = moments.history_mv.shape
    return torch.full((n_windows, n_channels), group)


def _quarter_of(window_set: WindowSet) -> Callable[[TargetTimes], Int64[Tensor, "window channel"]]:
    def group_of(moments: TargetTimes) -> Int64[Tensor, "window channel"]:
        recording = window_set.recordings[moments.recording]
        done = (moments.origin_rows - recording.start_row) / (recording.stop_row - recording.start_row)
        quarters = torch.from_numpy((done * len(_QUARTERS)).astype(np.int64))
        return quarters[:, None].expand(-1, moments.history_mv.shape[2])

    return group_of


def _by_voltage(values_mv: Float[Tensor, " value"]) -> Grouping:
    """Group by the present voltage, at quantiles of all training samples."""
    edges_mv = _edges(values_mv, _VOLTAGE_SHARES)
    return Grouping(
        "present voltage",
        _ranges(edges_mv.tolist(), "mV"),
        lambda moments: torch.bucketize(moments.history_mv[:, -1].contiguous(), edges_mv, right=True),
    )


def _by_rate(window_set: WindowSet, reset: ResetVoltage) -> Grouping:
    spikes = sum(
        _spikes(stretch.samples_mv(), reset).sum(0) for stretch in training_segments(window_set, n_before=0, n_after=0)
    )
    assert isinstance(spikes, Tensor)
    n_rows = sum(stop - start for _, start, stop in window_set.train_rows())
    rate_hz = spikes.double() * window_set.rate_hz / n_rows
    edges_hz = _edges(rate_hz, _RATE_SHARES)
    groups = torch.bucketize(rate_hz, edges_hz, right=True)
    names = _ranges(edges_hz.tolist(), "spikes/s")
    return Grouping("firing rate", names, lambda moments: groups.expand(len(moments.history_mv), -1))


def _by_time_since_spike(window_set: WindowSet, reset: ResetVoltage) -> Grouping:
    samples = [round(ms * window_set.rate_hz / 1000) for ms in _SINCE_SPIKE_MS]
    edges = torch.tensor(sorted({edge for edge in samples if 0 < edge < window_set.context}))

    def group_of(moments: TargetTimes) -> Int64[Tensor, "window channel"]:
        since = _spikes(moments.history_mv, reset).flip(1).int().cummax(1).values
        ago = (since == 0).sum(1)  # as many samples as the history has, where there was none
        return torch.bucketize(ago, edges, right=True)

    return Grouping(
        "time since its spike", _ranges([1000 * e / window_set.rate_hz for e in edges.tolist()], "ms"), group_of
    )


def _by_state(window_set: WindowSet, reset: ResetVoltage) -> Grouping:
    """Group by the number of channels that spiked recently."""
    n_samples = min(max(1, round(_STATE_MS * window_set.rate_hz / 1000)), window_set.context)

    def activity(voltage_mv: Float[Tensor, "*batch time channel"]) -> Float64[Tensor, "*batch time"]:
        spikes = _spikes(voltage_mv, reset).double().mean(-1)
        sums = spikes.cumsum(-1)
        sums[..., n_samples:] -= sums[..., :-n_samples].clone()
        return sums

    training = torch.cat(
        [activity(s.samples_mv())[n_samples:] for s in training_segments(window_set, n_before=0, n_after=0)]
    )
    edges = _edges(training, _STATE_SHARES)
    names = ("quiet", "usual", "busy") if len(edges) == len(_STATE_SHARES) else ("usual", "busy")

    def group_of(moments: TargetTimes) -> Int64[Tensor, "window channel"]:
        state = torch.bucketize(activity(moments.history_mv)[:, -1].contiguous(), edges)
        return state[:, None].expand(-1, moments.history_mv.shape[2])

    return Grouping("network state", names, group_of)


def _spikes(voltage_mv: Float[Tensor, "*batch time channel"], reset: ResetVoltage) -> Tensor:
    return spike_onsets(is_at_reset(voltage_mv, reset.voltage_mv, reset.tolerance_mv))


def _edges(values: Float[Tensor, " value"], shares: Sequence[float]) -> Float[Tensor, " edge"]:
    """The values below which these shares of all lie; fewer where some are equal."""
    some = values[:: max(1, len(values) // 100_000)]
    return torch.from_numpy(np.unique(np.quantile(some.numpy(), shares))).to(values.dtype)


def _ranges(edges: Sequence[float], unit: str) -> tuple[str, ...]:
    """Names of the ranges between ascending edges."""
    ends = [f"{edge:.3g}" for edge in edges]
    if not ends:
        return ("all",)
    between = [f"{low} to {high} {unit}" for low, high in pairwise(ends)]
    return (f"below {ends[0]} {unit}", *between, f"{ends[-1]} {unit} and more")
