"""Forecasts in mV, batch by batch."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.windows.window_set import Batch, WindowSet, to_mv

_BATCH_SAMPLES = 1 << 19


def predict_mv(forecaster: Forecaster, batch: Batch) -> Float[Tensor, "batch horizon channel"]:
    """Forecast a batch of a window set in mV."""
    forecast_z = forecaster.predict_z(batch.history_z, batch.mean_mv, batch.sd_mv)
    return to_mv(forecast_z, batch.mean_mv, batch.sd_mv)


def windows_per_batch(window_set: WindowSet) -> int:
    """Return the number of windows per batch, which bounds memory for any context and channel count."""
    return max(1, _BATCH_SAMPLES // (window_set.settings.window_samples * window_set.n_channels))


def batches_by_recording(
    windows: Int64[np.ndarray, " window"], window_set: WindowSet
) -> Iterator[Int64[np.ndarray, " batch"]]:
    """Windows of one recording at a time, and not too many."""
    size = windows_per_batch(window_set)
    recordings = window_set.index["recording"][windows]
    for of_recording in np.split(windows, np.flatnonzero(np.diff(recordings)) + 1):
        for start in range(0, len(of_recording), size):
            yield of_recording[start : start + size]
