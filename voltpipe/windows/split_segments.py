"""Segments of a split, for closed-form fits and for choices made on validation data."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from voltpipe.errors import VoltpipeError
from voltpipe.windows.splits import Split
from voltpipe.windows.window_set import WindowSet

_CHUNK_ROWS = 4096


class TrainingDataError(VoltpipeError):
    """Window set that is too small for a fit."""


@dataclass(frozen=True)
class Segment:
    """Consecutive samples. Each row outside the margins is a time to forecast from."""

    samples_z: Float[Tensor, "time channel"]
    mean_mv: Float[Tensor, " channel"]
    sd_mv: Float[Tensor, " channel"]

    def samples_mv(self) -> Float[Tensor, "time channel"]:
        """Return the samples in mV."""
        return self.samples_z * self.sd_mv + self.mean_mv


def segments(
    window_set: WindowSet, rows: Iterable[tuple[int, int, int]], *, n_before: int, n_after: int
) -> Iterator[Segment]:
    """Cut rows, given as (recording, start_row, stop_row), into segments of bounded length.

    Segments overlap by their margins: the first `n_before` and the last `n_after` rows. Every row that has that many
    rows around it lies outside the margins exactly once.
    """
    for recording, start_row, stop_row in rows:
        mean_mv, sd_mv = window_set.calibration_mv(recording)
        for first in range(start_row + n_before, stop_row - n_after, _CHUNK_ROWS):
            stop = min(first + _CHUNK_ROWS, stop_row - n_after)
            yield Segment(window_set.samples_z[first - n_before : stop + n_after], mean_mv, sd_mv)


def training_segments(window_set: WindowSet, *, n_before: int, n_after: int) -> Iterator[Segment]:
    """Cut the training rows into segments. None crosses a gap in time.

    Raises:
        TrainingDataError: no training row has that many rows around it.
    """
    found = False
    for segment in segments(window_set, window_set.train_rows(), n_before=n_before, n_after=n_after):
        found = True
        yield segment
    if not found:
        raise TrainingDataError(
            f"No training segment is longer than {n_before + n_after} samples. Record longer, or shorten the horizons.",
            code="training-rows-too-few",
        )


def validation_segments(window_set: WindowSet, *, n_before: int, n_after: int) -> Iterator[Segment]:
    """Cut the validation rows into segments. Yield nothing if there are none."""
    rows = ((r, start, stop) for r, start, stop, split in window_set.manifest.spans if split == Split.VALIDATION)
    yield from segments(window_set, rows, n_before=n_before, n_after=n_after)


def training_samples_mv(window_set: WindowSet, n_values: int = 1_000_000) -> Float[Tensor, " value"]:
    """Return about `n_values` training samples of all channels in mV, evenly spaced in time, in ascending order."""
    n_rows = sum(stop - start for _, start, stop in window_set.train_rows())
    step = max(1, n_rows * window_set.n_channels // n_values)
    values = []
    for recording, start_row, stop_row in window_set.train_rows():
        mean_mv, sd_mv = window_set.calibration_mv(recording)
        values.append((window_set.samples_z[start_row:stop_row:step] * sd_mv + mean_mv).flatten())
    return torch.cat(values).sort().values
