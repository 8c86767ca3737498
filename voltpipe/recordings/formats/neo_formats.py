"""Readers of the rig formats that neo supports, with the peculiarities of each."""

from pathlib import Path
from typing import Any

from neo import rawio
from neo.rawio.brainvisionrawio import read_brainvsion_soup

from voltpipe.recordings.formats.neo_reader import open_with_neo
from voltpipe.recordings.formats.raw_signal import RawSignal
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.recording import RecordingError

_NEURALYNX_GAP_MS = 0.04
"""Shortest gap in the time stamps, which are whole us. It is slightly over one sample at the usual 32 kHz."""

_INTAN_TIME_BYTES = 4
_NEURALYNX_HEADER_BYTES = 16_384
_NEURALYNX_RECORD_BYTES = 1044
"""Time stamp, channel, rate and count (20 bytes), then 512 samples."""


def open_intan(path: Path, hints: Hints) -> RawSignal:
    """Open Intan's RHD or RHS: a single file, or a folder with `info.rhd` or `info.rhs`."""
    info = _single_file(path, "info.rh[ds]") if path.is_dir() else path
    signal = open_with_neo(
        path, hints, lambda: rawio.IntanRawIO(str(info)), name="Intan", is_tissue=lambda stream: "amplifier" in stream
    )
    times = path / "time.dat"
    if times.is_file() and times.stat().st_size != signal.n_samples * _INTAN_TIME_BYTES:
        n_times = times.stat().st_size / _INTAN_TIME_BYTES
        raise RecordingError(
            f"{path.name} holds {signal.n_samples} samples, but {n_times:g} times. Copy it again.",
            code="timestamp-count-mismatch",
        )
    return signal


def open_axon(path: Path, hints: Hints) -> RawSignal:
    """Open Axon's ABF 1 or 2. Each sweep is a segment."""
    return open_with_neo(path, hints, lambda: rawio.AxonRawIO(str(path)), name="Axon")


def open_mcs_raw(path: Path, hints: Hints) -> RawSignal:
    """Open a `.raw` file with header, as exported by Multi Channel Systems' MC_DataTool."""
    return open_with_neo(path, hints, lambda: rawio.RawMCSRawIO(str(path)), name="Multi Channel Systems raw")


def open_open_ephys(path: Path, hints: Hints) -> RawSignal:
    """Open a folder in Open Ephys' binary format. Each recording of each experiment is a segment."""
    return open_with_neo(
        path,
        hints,
        lambda: rawio.OpenEphysBinaryRawIO(str(path)),
        name="Open Ephys",
        is_tissue=lambda stream: not stream.endswith(("_ADC", "SYNC")),
    )


def open_spikeglx(path: Path, hints: Hints) -> RawSignal:
    """Open a folder of SpikeGLX's `.bin` and `.meta` files. Each trigger of each gate is a segment."""
    return open_with_neo(path, hints, lambda: _CheckedSpikeGLX(str(path)), name="SpikeGLX", is_tissue=_is_probe)


def open_blackrock(path: Path, hints: Hints) -> RawSignal:
    """Open one of Blackrock's `.ns1` to `.ns6` files, or their folder. A pause begins a segment."""
    file = path
    if path.is_dir():
        files = sorted(path.glob("*.ns[1-6]"))
        if len({file.stem for file in files}) != 1:
            raise RecordingError(
                f"{path.name} holds files of several recordings. Make a folder for each recording.",
                code="file-count-unexpected",
            )
        file = files[0]
    base = str(file.with_suffix(""))
    return open_with_neo(path, hints, lambda: _ClosingBlackrock(base, load_nev=False), name="Blackrock")


def open_neuralynx(path: Path, hints: Hints) -> RawSignal:
    """Open a folder of Neuralynx's `.ncs` files, one per channel. A gap begins a segment."""
    for file in sorted(path.glob("*.ncs")):
        records_bytes = file.stat().st_size - _NEURALYNX_HEADER_BYTES
        # neo would silently drop the channel or its last record.
        if records_bytes <= 0 or records_bytes % _NEURALYNX_RECORD_BYTES:
            raise RecordingError(
                f"{file.name} ends in the middle of its header or of a record. Copy it again.", code="file-cut-off"
            )
    return open_with_neo(
        path,
        hints,
        lambda: rawio.NeuralynxRawIO(str(path), gap_tolerance_ms=_NEURALYNX_GAP_MS),
        name="Neuralynx",
    )


class _CheckedSpikeGLX(rawio.SpikeGLXRawIO):  # type: ignore[misc]
    """neo's reader, with a check of the file size against the `.meta`. neo does not notice files that are cut off."""

    def _parse_header(self) -> None:
        super()._parse_header()
        for info in self.signals_info_list:
            stated, found = int(info["meta"]["fileSizeBytes"]), Path(info["bin_file"]).stat().st_size
            if stated != found:
                raise RecordingError(
                    f"{Path(info['bin_file']).name} has {found} bytes, but its .meta states {stated}. Copy it again.",
                    code="file-cut-off",
                )


class _ClosingBlackrock(rawio.BlackrockRawIO):  # type: ignore[misc]
    """neo's reader, which closes its files when it is deleted."""

    def __del__(self) -> None:
        for file in getattr(self, "_nsx_fids", {}).values():
            file.close()


def _is_probe(stream: str) -> bool:
    return stream.startswith("imec") and not stream.endswith("SYNC")


def _single_file(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise RecordingError(
            f"{folder.name} holds {len(files)} files {pattern}. Expected one. Make a folder for each recording.",
            code="file-count-unexpected",
        )
    return files[0]


def open_brainvision(path: Path, hints: Hints) -> RawSignal:
    """Open a `.vhdr` file, or a folder with one and the files it names."""
    header = _single_file(path, "*.vhdr") if path.is_dir() else path
    return open_with_neo(path, hints, lambda: _BrainVision(str(header)), name="BrainVision")


class _BrainVision(rawio.BrainVisionRawIO):  # type: ignore[misc]
    """neo's reader with two corrections: it scales floating-point samples, and refuses files outside the folder."""

    def _parse_header(self) -> None:
        header = read_brainvsion_soup(self.filename)
        for name in (header["Common Infos"]["DataFile"], header["Common Infos"]["MarkerFile"]):
            if Path(name).name != name or not Path(self.filename).with_name(name).is_file():
                raise RecordingError(
                    f"The header names {name!r}, which is not in its folder. Put the file there under this name.",
                    code="file-part-missing",
                )
        super()._parse_header()
        channels: Any = self.header["signal_channels"]
        if header["Binary Infos"]["BinaryFormat"] == "IEEE_FLOAT_32":
            for channel in channels:
                fields = header["Channel Infos"][f"Ch{channel['id']}"].split(",")
                channel["gain"] = float(fields[2]) if len(fields) > 2 and fields[2] else 1.0
