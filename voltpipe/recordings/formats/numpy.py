"""Readers of NumPy files: NPY (only voltages, so hints must give unit and rate) and NPZ (with `rate_hz` and `unit`)."""

import tokenize
import weakref
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from jaxtyping import Num

from voltpipe.recordings.formats.raw_signal import MappedSamples, RawSignal, check_numeric, raise_as_damaged
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError

_VOLTAGE = "voltage"
_NPY_ERRORS = (EOFError, ValueError, OverflowError, SyntaxError, tokenize.TokenError)
"""Errors for a damaged file. They include Python's syntax errors, because the header is a Python literal."""
_NPZ_ERRORS = (*_NPY_ERRORS, OSError, KeyError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile)


def open_npy(path: Path, hints: Hints) -> RawSignal:
    """Open an NPY file of shape (time, channel), memory-mapped.

    Raises:
        RecordingError: the file is damaged, or its array has another shape or is not numeric.
    """
    with raise_as_damaged(path, "NPY", *_NPY_ERRORS):
        samples = MappedSamples(np.lib.format.open_memmap(path, mode="r"))  # type: ignore[no-untyped-call]
    _check_shape(samples.shape, path)
    check_numeric(samples.dtype, path, "the voltages")
    return RawSignal(
        read=lambda start, stop: samples[start:stop], n_samples=samples.shape[0], n_channels=samples.shape[1]
    )


def open_npz(path: Path, hints: Hints) -> RawSignal:
    """Open an NPZ file with `voltage` (time, channel) and optional `rate_hz`, `unit`, `channel_names`, `channel_types`.

    Raises:
        RecordingError: the file is damaged, or its voltages have another shape or are not numeric.
    """
    with raise_as_damaged(path, "NPZ", *_NPZ_ERRORS):
        voltage = _ZippedArray(path)
        with np.load(path, allow_pickle=False) as archive:
            metadata = {name: archive[name] for name in archive.files if name != _VOLTAGE}
    return RawSignal(
        read=voltage.read,
        n_samples=voltage.shape[0],
        n_channels=voltage.shape[1],
        unit=str(metadata["unit"]) if "unit" in metadata else None,
        rate_hz=float(metadata["rate_hz"]) if "rate_hz" in metadata else None,
        channel_names=_names(metadata.get("channel_names")),
        channel_types=_names(metadata.get("channel_types")),
    )


class _ZippedArray:
    """The voltages of an NPZ file, unpacked as they are read. Reading forward is cheap; going back unpacks again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(path))
            self._member = stack.enter_context(archive.open(f"{_VOLTAGE}.npy"))
            # The archive stays open as long as this array is in use.
            weakref.finalize(self, stack.pop_all().close)
        version = np.lib.format.read_magic(self._member)  # type: ignore[no-untyped-call]
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, column_major, self._dtype = read_header(self._member)  # type: ignore[no-untyped-call]
        _check_shape(shape, path)
        check_numeric(self._dtype, path, "the voltages")
        if column_major:
            raise RecordingError(
                f"{path.name} stores voltages channel by channel. Save np.ascontiguousarray(voltage).",
                code="array-order-unsupported",
            )
        self.shape = shape
        self._first_byte = self._member.tell()

    def read(self, start_sample: int, stop_sample: int) -> Num[np.ndarray, "time channel"]:
        row_bytes = self.shape[1] * self._dtype.itemsize
        expected = (stop_sample - start_sample) * row_bytes
        with raise_as_damaged(self._path, "NPZ", *_NPZ_ERRORS):
            self._member.seek(self._first_byte + start_sample * row_bytes)
            content = self._member.read(expected)
        if len(content) < expected:
            raise RecordingError(
                f"{self._path.name} ends before sample {stop_sample}. Export it again.", code="file-cut-off"
            )
        return np.frombuffer(content, self._dtype).reshape(-1, self.shape[1])


def _check_shape(shape: tuple[int, ...], path: Path) -> None:
    if len(shape) != 2:
        raise RecordingError(
            f"{path.name}: the voltages have shape {shape}. Expected (time, channel).", code="shape-unexpected"
        )
    if shape[1] > shape[0] > 0:
        raise RecordingError(
            f"{path.name}: shape {shape} has more channels than samples. Expected (time, channel). Transpose it.",
            code="array-transposed",
        )


def _names(array: np.ndarray | None) -> tuple[str, ...] | None:
    return None if array is None else tuple(map(str, array.ravel()))
