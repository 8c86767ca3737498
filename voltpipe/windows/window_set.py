"""Window sets: one memory-mapped array of conditioned samples, and an index of windows.

A window is `context` samples of history and the samples up to the largest horizon. Windows are views, so overlapping
windows cost no memory. Only requested batches are gathered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from pydantic import Field
from torch import Tensor

from voltpipe.lake.files import read_json
from voltpipe.lake.keys import RecordingKey
from voltpipe.schema import FrozenModel
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.splits import Role, Split

SAMPLES_FILE = "samples.npy"
INDEX_FILE = "index.npy"
WINDOW_SET_MANIFEST_FILE = "manifest.json"

INDEX_DTYPE = np.dtype([("recording", "<i4"), ("start_row", "<i8"), ("split", "<i1")])


def window_set_folder_name(digest: str) -> str:
    """Return the name of the folder in the lake that holds the window set with this digest."""
    return f"set-{digest[:16]}"


@dataclass(frozen=True)
class WindowedRecording:
    """Rows of one recording in a window set, and its calibration."""

    key: str
    digest: str
    start_row: int
    stop_row: int
    calibration_stop_row: int
    """End of the calibration span. No held-out target before it is scored."""
    mean_mv: tuple[float, ...]
    sd_mv: tuple[float, ...]
    condition: str | None = None
    """Condition under which it was recorded, if the file or sidecar states it."""

    @property
    def organoid(self) -> str:
        """Organoid that was recorded."""
        return RecordingKey.parse(self.key).organoid


class WindowedSpan(NamedTuple):
    """Contiguous rows of one recording that belong to one split."""

    recording: int
    """Number of the recording in the window set."""
    start_row: int
    stop_row: int
    split: Split


class WindowSetManifest(FrozenModel):
    """Contents of a window set: its source, and the rows of each recording and split."""

    format_version: int = Field(
        1, description="Version of this file. Files of voltpipe 0.1.0 have the same form without it."
    )
    settings: WindowSettings
    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    conditioning: dict[str, Any] = Field(
        {}, description="Conditioning signature of all recordings; empty if they were not conditioned."
    )
    digest: str = Field(description="Digest of recordings, roles and window settings.")
    preparation: str | None = Field(description="Reference preparation of all recordings, if any.")
    network_seeds: dict[str, int] = Field({}, description="Seed of each organoid's simulated network, if known.")
    organoids: tuple[str, ...]
    roles: dict[Role, tuple[str, ...]] = Field(description="Keys of the recordings with each role.")
    recordings: tuple[WindowedRecording, ...] = Field(description="Recordings in order of their rows.")
    spans: tuple[WindowedSpan, ...]
    train_mean_mv: tuple[float, ...] = Field(description="Mean of each channel over all training samples, in mV.")

    @classmethod
    def load(cls, folder: Path) -> "WindowSetManifest":
        """Read the manifest of the window set in a folder."""
        return cls.model_validate(read_json(folder / WINDOW_SET_MANIFEST_FILE))


def to_mv(
    values_z: Float[Tensor, "*any"], mean_mv: Float[Tensor, "*calibration"], sd_mv: Float[Tensor, "*calibration"]
) -> Float[Tensor, "*any"]:
    """Convert z-units to mV.

    Mean and SD broadcast. For windows (batch, time, channel) they may be given per window (batch, channel).
    """
    if values_z.ndim == 3 and mean_mv.ndim == 2:
        mean_mv, sd_mv = mean_mv[:, None], sd_mv[:, None]
    return values_z * sd_mv + mean_mv


@dataclass(frozen=True)
class Batch:
    """Windows gathered into tensors."""

    history_z: Float[Tensor, "batch context channel"]
    target_z: Float[Tensor, "batch horizon channel"]
    mean_mv: Float[Tensor, "batch channel"]
    sd_mv: Float[Tensor, "batch channel"]

    def history_mv(self) -> Float[Tensor, "batch context channel"]:
        """Return the histories in mV."""
        return to_mv(self.history_z, self.mean_mv, self.sd_mv)

    def target_mv(self) -> Float[Tensor, "batch horizon channel"]:
        """Return the targets in mV."""
        return to_mv(self.target_z, self.mean_mv, self.sd_mv)


class WindowSet:
    """Windows of recordings that share one set of channels.

    Args:
        folder: folder written by `build_window_set`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = WindowSetManifest.load(folder)
        self.digest = self.manifest.digest
        self.settings = self.manifest.settings
        self.rate_hz = self.manifest.rate_hz
        self.channel_names = self.manifest.channel_names
        self.channel_types = self.manifest.channel_types
        self.conditioning = self.manifest.conditioning
        self.recordings = self.manifest.recordings
        # Copy-on-write, because torch wants a writable array. Nothing is written.
        self._samples = np.load(folder / SAMPLES_FILE, mmap_mode="c")
        self.samples_z: Float[Tensor, "row channel"] = torch.from_numpy(self._samples)
        self.index = np.load(folder / INDEX_FILE, mmap_mode="r")
        self._mean_mv = torch.tensor([recording.mean_mv for recording in self.recordings])
        self._sd_mv = torch.tensor([recording.sd_mv for recording in self.recordings])

    @property
    def context(self) -> int:
        """Number of history samples in a window."""
        return self.settings.context_samples

    @property
    def horizons(self) -> tuple[int, ...]:
        """Horizons of the targets in samples, ascending."""
        return self.settings.horizons_samples

    @property
    def n_channels(self) -> int:
        """Number of channels of each recording."""
        return len(self.channel_names)

    def windows(self, split: Split) -> Int64[np.ndarray, " window"]:
        """Return the index positions of a split's windows, in order of recording and time."""
        return np.flatnonzero(self.index["split"] == split.code)

    def training_organoids(self) -> tuple[str, ...]:
        """Return the organoids that have training rows, sorted."""
        return tuple(sorted({self.recordings[recording].organoid for recording, _, _ in self.train_rows()}))

    def train_mean_mv(self) -> Float[Tensor, " channel"]:
        """Return the mean of each channel over all training samples, in mV. R2's total sum of squares is about it."""
        return torch.tensor(self.manifest.train_mean_mv, dtype=torch.float32)

    def train_rows(self) -> tuple[tuple[int, int, int], ...]:
        """Return the training rows as half-open ranges (recording, start_row, stop_row) without gaps.

        Every fit, of a baseline or a statistic, uses these rows and no others.
        """
        return tuple((r, start, stop) for r, start, stop, split in self.manifest.spans if split == Split.TRAIN)

    def calibration_mv(
        self, recording: int | Int[np.ndarray, " batch"]
    ) -> tuple[Float[Tensor, "*batch channel"], Float[Tensor, "*batch channel"]]:
        """Return mean and standard deviation in mV of recordings, given by number."""
        return self._mean_mv[recording], self._sd_mv[recording]

    def segment(self, windows: Int[np.ndarray, " batch"], n_samples: int) -> Float[Tensor, "batch time channel"]:
        """Return the first `n_samples` samples of each window in z-units, at most context + largest horizon."""
        assert n_samples <= self.settings.window_samples
        rows = torch.from_numpy(self.index["start_row"][windows].astype(np.int64))
        return self.samples_z.unfold(0, n_samples, 1).transpose(1, 2)[rows]

    def batch(self, windows: Int[np.ndarray, " batch"] | Sequence[int]) -> Batch:
        """Gather windows, given by their index positions."""
        windows = np.asarray(windows)
        samples = self.segment(windows, self.settings.window_samples)
        mean_mv, sd_mv = self.calibration_mv(self.index["recording"][windows])
        target_rows = [self.context - 1 + horizon for horizon in self.horizons]
        return Batch(samples[:, : self.context], samples[:, target_rows], mean_mv, sd_mv)
