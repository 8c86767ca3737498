"""Lazy reading of Parquet files of voltages by row ranges, one row group at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Num

PARQUET_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, OSError)
"""Errors that pyarrow raises for a damaged file."""


class ParquetRows:
    """A Parquet file whose rows are read lazily. The last row group is cached, because chunks often share one.

    Args:
        path: the file.
        footer: its footer, if already read.
    """

    def __init__(self, path: Path, footer: pq.FileMetaData | None = None) -> None:
        self._file = pq.ParquetFile(path, metadata=footer, page_checksum_verification=True)
        metadata = self._file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self._cached: tuple[int, tuple[str, ...], np.ndarray] | None = None
        self.schema: pa.Schema = self._file.schema_arrow
        self.footer: pq.FileMetaData = metadata
        self.n_rows: int = metadata.num_rows

    def read(self, start_row: int, stop_row: int, columns: Sequence[str]) -> Num[np.ndarray, "row column"]:
        """Read a half-open range of rows. The result has one column for each name in `columns`."""
        first = int(np.searchsorted(self._bounds, start_row, side="right")) - 1
        last = max(first, int(np.searchsorted(self._bounds, stop_row, side="left")) - 1)
        parts = []
        for group in range(first, min(last + 1, len(self._bounds) - 1)):
            offset = int(self._bounds[group])
            parts.append(self._group(group, tuple(columns))[max(start_row - offset, 0) : stop_row - offset])
        return np.concatenate(parts) if parts else np.empty((0, len(columns)), np.float32)

    def _group(self, group: int, columns: tuple[str, ...]) -> Num[np.ndarray, "row column"]:
        if self._cached is None or self._cached[:2] != (group, columns):
            table = self._file.read_row_group(group, columns=list(columns))
            self._cached = (group, columns, np.column_stack([table[name].to_numpy() for name in columns]))
        return self._cached[2]
