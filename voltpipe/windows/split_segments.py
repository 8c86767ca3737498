"""Samples for whatever is fitted in closed form: of training, or of validation where something is chosen by it."""

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
    """A window set that is too small to fit anything on."""


@dataclass(frozen=True)
class Segment:
    """Consecutive training samples in which each row but the margins is a moment to forecast from."""

    samples_z: Float[Tensor, "time channel"]
    mean_mv: Float[Tensor, " channel"]
    sd_mv: Float[Tensor, " channel"]

    def samples_mv(self) -> Float[Tensor, "time channel"]:
        """The samples in mV."""
        return self.samples_z * self.sd_mv + self.mean_mv


def segments(
    window_set: WindowSet, rows: Iterable[tuple[int, int, int]], *, n_before: int, n_after: int
) -> Iterator[Segment]:
    """Cut rows, given as (recording, start_row, stop_row), into stretches of bounded length.

    Every row with `n_before` rows before it and `n_after` rows after it in the same piece lies exactly once between a
    stretch's first `n_before` and last `n_after` rows.
    """
    for recording, start_row, stop_row in rows:
        mean_mv, sd_mv = window_set.calibration_mv(recording)
        for first in range(start_row + n_before, stop_row - n_after, _CHUNK_ROWS):
            stop = min(first + _CHUNK_ROWS, stop_row - n_after)
            yield Segment(window_set.samples_z[first - n_before : stop + n_after], mean_mv, sd_mv)


def training_segments(window_set: WindowSet, *, n_before: int, n_after: int) -> Iterator[Segment]:
    """Cut the training rows into stretches, none over a gap in time.

    Raises:
        TrainingDataError: no training row has that many around it.
    """
    found = False
    for stretch in segments(window_set, window_set.train_rows(), n_before=n_before, n_after=n_after):
        found = True
        yield stretch
    if not found:
        raise TrainingDataError(
            f"no training segment is longer than {n_before + n_after} samples; record longer, or shorten the horizons",
            code="training-rows-too-few",
        )


def validation_segments(window_set: WindowSet, *, n_before: int, n_after: int) -> Iterator[Segment]:
    """The same of the rows that are for validation; none where there are none."""
    rows = ((r, start, stop) for r, start, stop, split in window_set.manifest.spans if split == Split.VALIDATION)
    yield from segments(window_set, rows, n_before=n_before, n_after=n_after)


def training_samples_mv(window_set: WindowSet, n_values: int = 1_000_000) -> Float[Tensor, " value"]:
    """About `n_values` training samples in mV from all channels, evenly spread over time, ascending."""
    n_rows = sum(stop - start for _, start, stop in window_set.train_rows())
    step = max(1, n_rows * window_set.n_channels // n_values)
    values = []
    for recording, start_row, stop_row in window_set.train_rows():
        mean_mv, sd_mv = window_set.calibration_mv(recording)
        values.append((window_set.samples_z[start_row:stop_row:step] * sd_mv + mean_mv).flatten())
    return torch.cat(values).sort().values
