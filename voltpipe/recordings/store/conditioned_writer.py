"""Writes a conditioned recording: z-scored samples as they come, what they are at the end.

Measured (benchmarks/conditioning.py, 1,020 channels): voltages that a converter quantised take few values, and a
dictionary holds them in half the space of anything else, in half the time. True floating-point noise does not
compress; byte-stream-split saves a tenth of it, where a dictionary would take half as much again. Row groups of a
thousand rows take twice as long to write and to read as these. A file that is not on the disk is not there after a
power cut, and to wait for gigabytes at the end would take as long as all the rest.
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
    """What a conditioned recording says of itself, but for its samples."""

    organoid: str
    recording: str
    rate_hz: float
    channel_names: tuple[str, ...]
    channel_types: tuple[str, ...]
    positions_um: tuple[tuple[float, ...], ...] | None = None
    """Where each channel's electrode lies (x, y, perhaps z); None where nobody said."""
    mean_mv: tuple[float, ...]
    sd_mv: tuple[float, ...]
    first_sample: int
    """The sample of the raw recording that is the first one here."""
    calibration_samples: int
    """Mean and SD are of this many samples from the beginning."""
    segment_starts: tuple[int, ...]
    stretches: tuple[tuple[int, int], ...]
    """Half-open ranges of the raw recording's samples that the segments are made of, one each; the rest is left out."""
    source_rate_hz: float
    """The raw recording's rate."""
    steps: tuple[str, ...]
    """What was done to the voltage before it was z-scored, in words, in order."""
    settings: ConditioningSettings
    source_digest: str
    """SHA-256 of the raw file."""
    facts: dict[str, str | int | float]
    software_version: str


class ConditionedMetadata(ConditioningProvenance):
    """The JSON in a conditioned recording's schema metadata."""

    n_samples: int
    samples_digest: str
    """SHA-256 of the z-scored samples: alike for recordings of the same samples, whatever their files."""


METADATA_KEY = b"voltpipe"
"""Under which the schema's metadata holds a `ConditionedMetadata` as JSON."""

ROW_GROUP_SAMPLES = 16_384
_MOST_ROW_GROUP_VALUES = 1 << 24
_FEW = 1 / 4
"""Share of different values up to which a dictionary is used."""

QUANTISED: dict[str, Any] = {"compression": "none", "use_dictionary": True}
CONTINUOUS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "use_byte_stream_split": True,
}


class ConditionedWriter:
    """Takes samples in pieces of any length and writes row groups.

    A second thread compresses one while the next fills, and a third brings to the disk what is written.

    Args:
        path: a Parquet file to write.
        channel_names: one column each.
    """

    def __init__(self, path: Path, channel_names: tuple[str, ...]) -> None:
        self._path = path
        self._schema = pa.schema([(name, pa.float32()) for name in channel_names])
        rows = max(1, min(ROW_GROUP_SAMPLES, _MOST_ROW_GROUP_VALUES // len(channel_names)))
        self._block = np.empty((0, 0), np.float32)
        self._shape = len(channel_names), rows
        self._filled = 0
        self._digest = hashlib.sha256()
        self._writer: pq.ParquetWriter | None = None
        self._worker = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None
        self._to_disk = ThreadPoolExecutor(1)
        self._syncing: Future[None] | None = None
        self.n_samples = 0

    def __enter__(self) -> "ConditionedWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.shutdown()
        self._to_disk.shutdown()
        if self._writer is not None:
            self._writer.close()

    def write(self, samples_z: Float32[np.ndarray, "time channel"]) -> None:
        """Take the next samples."""
        taken = 0
        while taken < len(samples_z):
            if not self._filled:
                self._block = np.empty(self._shape, np.float32)
            piece = samples_z[taken : taken + self._shape[1] - self._filled]
            self._block[:, self._filled : self._filled + len(piece)] = piece.T
            self._filled += len(piece)
            taken += len(piece)
            if self._filled == self._shape[1]:
                self._flush()
        self.n_samples += len(samples_z)

    def finish(self, provenance: ConditioningProvenance) -> ConditionedMetadata:
        """Write what is left, and what the samples are."""
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
            self._bring_to_disk()
        block = self._block[:, : self._filled]
        self._under_way = self._worker.submit(self._write_row_group, block)
        self._filled = 0

    def _wait(self) -> None:
        if self._under_way is not None:
            self._under_way.result()

    def _bring_to_disk(self) -> None:
        """Begin to, unless the disk is still at work on what was written before."""
        if self._syncing is None or self._syncing.done():
            if self._syncing is not None:
                self._syncing.result()
            self._syncing = self._to_disk.submit(_sync, self._path)

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
    some = by_channel[:: max(1, len(by_channel) // 16)]
    distinct = sum(len(np.unique(samples)) for samples in some)
    return distinct <= _FEW * some.size
