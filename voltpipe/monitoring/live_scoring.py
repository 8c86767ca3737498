"""Scores of several forecasters on the same targets of a recording made after their training."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Int
from numpy.lib.stride_tricks import sliding_window_view

from voltpipe.evaluation.accumulators import ErrorSums
from voltpipe.evaluation.batching import predict_mv
from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.recordings.conditioning.signature import conditioning_signature, signature_difference
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording
from voltpipe.windows.window_set import Batch

_CHUNK_VALUES = 1 << 22
"""Number of voltages held in memory at once: windows times samples times channels."""


def score_live_recording(
    forecasters: Mapping[str, Forecaster], recording: ConditionedRecording, *, stride_samples: int
) -> dict[str, ErrorSums]:
    """Accumulate the errors of each forecaster on windows of a whole recording.

    No window crosses a gap, and no target lies in the calibration span. R2 is relative to the training mean.

    Args:
        forecasters: forecasters by name. Context and horizons of the first determine the windows.
        recording: a recording that none of them was trained on.
        stride_samples: interval between windows, in samples.

    Raises:
        ForecasterError: the first forecaster does not fit the recording, or the recording is too short.
    """
    first = next(iter(forecasters.values()))
    _check_fits(first, recording)
    context, ahead = first.config.context_samples, first.horizons[-1]
    used = {name: one.for_recording(recording.organoid, recording.channel_names) for name, one in forecasters.items()}
    sums = {
        name: ErrorSums(len(first.horizons), torch.tensor(used[name].config.mean_mv, dtype=torch.float32))
        for name in forecasters
    }
    starts = _starts(recording, context, context + ahead, stride_samples)
    if not len(starts):
        raise ForecasterError(
            f"The recording of {recording.n_samples} samples has no segment with a window of {context + ahead} samples "
            "after the calibration span. Record longer.",
            code="recording-too-short",
        )

    for batch in _batches(recording, starts, context, first.horizons):
        for name, forecaster in used.items():
            own = [forecaster.horizons.index(horizon) for horizon in first.horizons]
            sums[name].add(predict_mv(forecaster, batch)[:, own], batch.target_mv())
    return sums


def _check_fits(forecaster: Forecaster, recording: ConditionedRecording) -> None:
    config = forecaster.config
    if recording.rate_hz != config.rate_hz:
        raise ForecasterError(
            f"The recording has {recording.rate_hz:g} Hz. The champion expects {config.rate_hz:g} Hz.",
            code="rate-differs",
        )
    if forecaster.module.bound_to_channels and recording.channel_names != config.channel_names:
        raise ForecasterError(
            "The champion's weights belong to other channels than those of the recording. "
            "Train a forecaster on these channels.",
            code="channels-differ",
        )
    difference = signature_difference(conditioning_signature(recording.metadata.settings), config.conditioning)
    if config.conditioning and difference:
        raise ForecasterError(
            f"The recording was conditioned differently: {difference}. Condition it as the champion expects.",
            code="conditioning-differs",
        )


def _starts(
    recording: ConditionedRecording, context: int, window_samples: int, stride_samples: int
) -> Int[np.ndarray, " window"]:
    earliest = max(0, recording.calibration_samples - context)
    bounds = pairwise([*recording.segment_starts, recording.n_samples])
    starts: Int[np.ndarray, " window"] = np.concatenate(
        [np.arange(max(start, earliest), stop - window_samples + 1, stride_samples) for start, stop in bounds]
    )
    return starts


def _batches(
    recording: ConditionedRecording, starts: Int[np.ndarray, " window"], context: int, horizons: tuple[int, ...]
) -> Iterator[Batch]:
    window_samples = context + horizons[-1]
    n_channels = len(recording.channel_names)
    size = max(1, _CHUNK_VALUES // (window_samples * n_channels))
    targets = [context - 1 + horizon for horizon in horizons]
    for begin in range(0, len(starts), size):
        chunk = starts[begin : begin + size]
        samples_z = recording.read_z(int(chunk[0]), int(chunk[-1]) + window_samples)
        windows = sliding_window_view(samples_z, window_samples, axis=0)[chunk - chunk[0]].transpose(0, 2, 1)
        samples = torch.from_numpy(np.ascontiguousarray(windows))
        mean_mv, sd_mv = (
            torch.from_numpy(values).expand(len(chunk), -1) for values in (recording.mean_mv, recording.sd_mv)
        )
        yield Batch(samples[:, :context], samples[:, targets], mean_mv, sd_mv)
