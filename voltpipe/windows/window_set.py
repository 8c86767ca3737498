"""Windows over conditioned samples: one memory-mapped array, and an index of where windows begin.

A window is `context` samples of history followed by the samples up to the largest horizon. Windows are views:
overlapping ones cost no memory, and only the batches that are asked for are gathered.
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
    """One recording's place in a window set, and what restores its mV."""

    key: str
    digest: str
    start_row: int
    stop_row: int
    calibration_stop_row: int
    """No held-out target before this row is scored: its z-score was taken from there."""
    mean_mv: tuple[float, ...]
    sd_mv: tuple[float, ...]
    condition: str | None = None
    """Under which it was recorded, where its file or sidecar says."""

    @property
    def organoid(self) -> str:
        """Whose recording it is."""
        return RecordingKey.parse(self.key).organoid


class WindowedSpan(NamedTuple):
    """Contiguous rows of one recording that belong to one split."""

    recording: int
    """Its number in the window set."""
    start_row: int
    stop_row: int
    split: Split


class WindowSetManifest(FrozenModel):
    """Contents of a window set: what it was made from, and where each recording and split lies in it."""

    format_version: int = Field(1, description="of this file; absent in files of version 0.1.0, which are the same")
    settings: WindowSettings
    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    conditioning: dict[str, Any] = Field(
        {}, description="how all recordings were conditioned (`recordings.shared_conditioning`); empty: as recorded"
    )
    digest: str = Field(description="names recordings, roles and window settings")
    preparation: str | None = Field(description="the reference preparation of all recordings, if any")
    network_seeds: dict[str, int] = Field({}, description="seed of each organoid's simulated network, where known")
    organoids: tuple[str, ...]
    roles: dict[Role, tuple[str, ...]] = Field(description="keys of the recordings with each role")
    recordings: tuple[WindowedRecording, ...] = Field(description="in order of their rows")
    spans: tuple[WindowedSpan, ...]
    train_mean_mv: tuple[float, ...] = Field(description="mean of each channel over all training samples")

    @classmethod
    def load(cls, folder: Path) -> "WindowSetManifest":
        """Read the manifest of the window set in a folder."""
        return cls.model_validate(read_json(folder / WINDOW_SET_MANIFEST_FILE))


def to_mv(
    values_z: Float[Tensor, "*any"], mean_mv: Float[Tensor, "*calibration"], sd_mv: Float[Tensor, "*calibration"]
) -> Float[Tensor, "*any"]:
    """Convert z-units to mV.

    Mean and SD broadcast; for windows (batch, time, channel) they may be those of each window (batch, channel).
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
        """The histories in mV."""
        return to_mv(self.history_z, self.mean_mv, self.sd_mv)

    def target_mv(self) -> Float[Tensor, "batch horizon channel"]:
        """The targets in mV."""
        return to_mv(self.target_z, self.mean_mv, self.sd_mv)


class WindowSet:
    """The windows of all recordings that share one set of channels.

    Args:
        folder: a window set as written by `build_window_set`.
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
        # Copy-on-write: torch asks for a writable array, and nothing is ever written.
        self._samples = np.load(folder / SAMPLES_FILE, mmap_mode="c")
        self.samples_z: Float[Tensor, "row channel"] = torch.from_numpy(self._samples)
        self.index = np.load(folder / INDEX_FILE, mmap_mode="r")
        self._mean_mv = torch.tensor([recording.mean_mv for recording in self.recordings])
        self._sd_mv = torch.tensor([recording.sd_mv for recording in self.recordings])

    @property
    def context(self) -> int:
        """Samples of history in a window."""
        return self.settings.context_samples

    @property
    def horizons(self) -> tuple[int, ...]:
        """How many samples ahead the targets lie, ascending."""
        return self.settings.horizons_samples

    @property
    def n_channels(self) -> int:
        """Channels of every recording in the set."""
        return len(self.channel_names)

    def windows(self, split: Split) -> Int64[np.ndarray, " window"]:
        """Positions in the index of the windows of one split, in order of recording and time."""
        return np.flatnonzero(self.index["split"] == split.code)

    def training_organoids(self) -> tuple[str, ...]:
        """Whose recordings have training rows, in order."""
        return tuple(sorted({self.recordings[recording].organoid for recording, _, _ in self.train_rows()}))

    def train_mean_mv(self) -> Float[Tensor, " channel"]:
        """Each channel's mean over all training samples, in mV; what R2's total sum of squares is about."""
        return torch.tensor(self.manifest.train_mean_mv, dtype=torch.float32)

    def train_rows(self) -> tuple[tuple[int, int, int], ...]:
        """The half-open stretches of rows that belong to training: (recording, start_row, stop_row).

        Whatever is fitted (a baseline, a statistic) is fitted on these rows and no others. None holds a gap.
        """
        return tuple((r, start, stop) for r, start, stop, split in self.manifest.spans if split == Split.TRAIN)

    def calibration_mv(
        self, recording: int | Int[np.ndarray, " batch"]
    ) -> tuple[Float[Tensor, "*batch channel"], Float[Tensor, "*batch channel"]]:
        """Mean and standard deviation in mV that turn the z-units of recordings (by number) back into mV."""
        return self._mean_mv[recording], self._sd_mv[recording]

    def segment(self, windows: Int[np.ndarray, " batch"], n_samples: int) -> Float[Tensor, "batch time channel"]:
        """The first `n_samples` samples of each window, in z-units; up to context + the largest horizon."""
        assert n_samples <= self.settings.window_samples
        rows = torch.from_numpy(self.index["start_row"][windows].astype(np.int64))
        return self.samples_z.unfold(0, n_samples, 1).transpose(1, 2)[rows]

    def batch(self, windows: Int[np.ndarray, " batch"] | Sequence[int]) -> Batch:
        """Gather windows, by their positions in the index."""
        windows = np.asarray(windows)
        samples = self.segment(windows, self.settings.window_samples)
        mean_mv, sd_mv = self.calibration_mv(self.index["recording"][windows])
        target_rows = [self.context - 1 + horizon for horizon in self.horizons]
        return Batch(samples[:, : self.context], samples[:, target_rows], mean_mv, sd_mv)
