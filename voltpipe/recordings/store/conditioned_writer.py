"""Writer of conditioned recordings: z-scored samples as they arrive, then the metadata.

The encoding follows measurements with benchmarks/conditioning.py (1,020 channels). Quantized voltages take few values:
a dictionary needs half the space and half the time of any other encoding. Floating-point noise does not compress:
byte-stream-split saves 10 %, and a dictionary would need 50 % more space. Row groups of 1,000 rows would take twice as
long to write and to read. Data is synced to the disk during writing, because only synced files survive a power cut,
and syncing gigabytes at the end would take as long as everything else.
"""

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.schema import FrozenModel


class ConditioningProvenance(FrozenModel):
    """Source, channels, calibration and settings of a conditioned recording: all metadata but that of its samples."""

    organoid: str
    recording: str
    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    positions_um: tuple[tuple[float, ...], ...] | None = None
    """Positions of the electrodes in um, with two or three axes; None if unknown."""
    mean_mv: tuple[float, ...]
    sd_mv: tuple[float, ...]
    first_sample: int
    """The first kept sample of the raw recording."""
    calibration_samples: int
    """Length of the calibration span: the samples from the beginning that give mean and SD."""
    segment_starts: tuple[int, ...]
    stretches: tuple[tuple[int, int], ...]
    """The half-open range of raw samples of each segment. All other samples were left out."""
    source_rate_hz: float
    """Sampling rate of the raw recording."""
    steps: tuple[str, ...]
    """Descriptions of the processing steps before the z-score, in order."""
    settings: ConditioningSettings
    source_digest: str
    """SHA-256 of the raw file."""
    facts: dict[str, str | int | float]
    software_version: str


class ConditionedMetadata(ConditioningProvenance):
    """The JSON in a conditioned recording's schema metadata."""

    n_samples: int
    samples_digest: str
    """SHA-256 of the z-scored samples. It is equal for recordings with the same samples, even if their files differ."""


METADATA_KEY = b"voltpipe"
"""Key in the metadata of the Parquet schema that holds a `ConditionedMetadata` as JSON."""

ROW_GROUP_SAMPLES = 16_384
_MAX_ROW_GROUP_VALUES = 1 << 24
_MAX_DISTINCT_SHARE = 1 / 4
"""Largest share of distinct values for which a dictionary is used."""

QUANTISED: dict[str, Any] = {"compression": "none", "use_dictionary": True}
CONTINUOUS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "use_byte_stream_split": True,
}


class ConditionedWriter:
    """A writer that takes chunks of any length and writes row groups.

    A second thread compresses a row group while the next one fills, and a third syncs written data to the disk.

    Args:
        path: the Parquet file to write.
        channel_names: the names of the columns.
    """

    def __init__(self, path: Path, channel_names: tuple[str, ...]) -> None:
        self._path = path
        self._schema = pa.schema([(name, pa.float32()) for name in channel_names])
        rows = max(1, min(ROW_GROUP_SAMPLES, _MAX_ROW_GROUP_VALUES // len(channel_names)))
        self._block = np.empty((0, 0), np.float32)
        self._shape = len(channel_names), rows
        self._filled = 0
        self._digest = hashlib.sha256()
        self._writer: pq.ParquetWriter | None = None
        self._compression_worker = ThreadPoolExecutor(1)
        self._compressing: Future[None] | None = None
        self._sync_worker = ThreadPoolExecutor(1)
        self._syncing: Future[None] | None = None
        self.n_samples = 0

    def __enter__(self) -> "ConditionedWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._compression_worker.shutdown()
        self._sync_worker.shutdown()
        if self._writer is not None:
            self._writer.close()

    def write(self, samples_z: Float32[np.ndarray, "time channel"]) -> None:
        """Write the next samples."""
        n_written = 0
        while n_written < len(samples_z):
            if not self._filled:
                self._block = np.empty(self._shape, np.float32)
            rows = samples_z[n_written : n_written + self._shape[1] - self._filled]
            self._block[:, self._filled : self._filled + len(rows)] = rows.T
            self._filled += len(rows)
            n_written += len(rows)
            if self._filled == self._shape[1]:
                self._flush()
        self.n_samples += len(samples_z)

    def finish(self, provenance: ConditioningProvenance) -> ConditionedMetadata:
        """Write the remaining samples and the metadata, and return the metadata."""
        if self._filled:
            self._flush()
        self._wait()
        if self._syncing is not None:
            self._syncing.result()
        metadata = ConditionedMetadata(
            **dict(provenance), n_samples=self.n_samples, samples_digest=self._digest.hexdigest()
        )
        assert self._writer is not None, "no sample was written"
        self._writer.add_key_value_metadata({METADATA_KEY: metadata.model_dump_json()})
        return metadata

    def _flush(self) -> None:
        self._wait()
        if self._writer is not None:
            self._start_sync()
        block = self._block[:, : self._filled]
        self._compressing = self._compression_worker.submit(self._write_row_group, block)
        self._filled = 0

    def _wait(self) -> None:
        if self._compressing is not None:
            self._compressing.result()

    def _start_sync(self) -> None:
        """Start to sync written data to the disk, unless the previous sync is still running."""
        if self._syncing is None or self._syncing.done():
            if self._syncing is not None:
                self._syncing.result()
            self._syncing = self._sync_worker.submit(_sync, self._path)

    def _write_row_group(self, by_channel: Float32[np.ndarray, "channel time"]) -> None:
        if self._writer is None:
            encoding = QUANTISED if _is_quantised(by_channel) else CONTINUOUS
            self._writer = pq.ParquetWriter(
                self._path, self._schema, write_page_checksum=True, write_statistics=False, **encoding
            )
        self._writer.write_table(pa.table([pa.array(samples) for samples in by_channel], schema=self._schema))
        self._digest.update(np.ascontiguousarray(by_channel).data)


def _sync(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _is_quantised(by_channel: Float32[np.ndarray, "channel time"]) -> bool:
    selected = by_channel[:: max(1, len(by_channel) // 16)]
    n_distinct = sum(len(np.unique(samples)) for samples in selected)
    return n_distinct <= _MAX_DISTINCT_SHARE * selected.size
