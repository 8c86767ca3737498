"""Writers of the same counts in all rig formats, by the published layouts or with the format's own library."""

import json
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

N_SAMPLES = 15_360
"""A multiple of two Neuralynx blocks (512 samples) and of Intan blocks (60 and 128)."""


@dataclass(frozen=True)
class Written:
    """A written file, and the values that must be read from it."""

    path: Path
    uv_per_count: float
    rate_hz: float
    channel_names: tuple[str, ...]


def write_maxwell(folder: Path, counts: np.ndarray, *, extension: str = ".raw.h5") -> Written:
    """Write MaxLab Live's layout since 2017, without compression: one well, one recording."""
    path = folder / f"run{extension}"
    mapping = np.array(
        [(channel, 100 + channel, 17.5 * channel, 35.0) for channel in range(counts.shape[1])],
        dtype=[("channel", "<i4"), ("electrode", "<i4"), ("x", "<f8"), ("y", "<f8")],
    )
    with h5py.File(path, "w") as file:
        file["version"] = np.array([b"20190530"])
        well = file.create_group("wells/well000/rec0000")
        well["settings/lsb"], well["settings/sampling"] = [6.3e-6], [20_000.0]
        well["settings/mapping"] = mapping
        well["groups/routed/raw"] = counts.T
        well["groups/routed/channels"] = np.arange(counts.shape[1])
    return Written(path, 6.3, 20_000.0, tuple(f"electrode_{100 + i}" for i in range(counts.shape[1])))


def write_mcs(
    folder: Path, counts: np.ndarray, *, start_us: int = 100_000, ad_zero: int = 50, extension: str = ".h5"
) -> Written:
    """Write MCS DataManager's layout. It starts after 0 s and its ADZero is not 0, which other readers get wrong."""
    path = folder / f"run{extension}"
    channels = np.array(
        [(i, i, f"E{i + 1}".encode(), b"V", -12, ad_zero, 50, 59_605) for i in range(counts.shape[1])],
        dtype=[
            ("ChannelID", "<i4"),
            ("RowIndex", "<i4"),
            ("Label", "S8"),
            ("Unit", "S8"),
            ("Exponent", "<i4"),
            ("ADZero", "<i4"),
            ("Tick", "<i8"),
            ("ConversionFactor", "<i8"),
        ],
    )
    with h5py.File(path, "w") as file:
        stream = file.create_group("Data/Recording_0/AnalogStream/Stream_0")
        stream.attrs["DataSubType"], stream.attrs["Label"] = b"Electrode", b"Electrode Raw Data"
        stream["ChannelData"] = counts.T.astype("<i4") + ad_zero
        stream["ChannelDataTimeStamps"] = np.array([[start_us, 0, len(counts) - 1]])
        stream["InfoChannel"] = channels
    return Written(path, 59_605e-6, 20_000.0, tuple(f"E{i + 1}" for i in range(counts.shape[1])))


def write_cl1(folder: Path, counts: np.ndarray, *, extension: str = ".h5") -> Written:
    """Write the layout of Cortical Labs' SDK, with one of its pickled attributes."""
    path = folder / f"run{extension}"
    with h5py.File(path, "w") as file:
        file["samples"] = counts
        file.attrs["frames_per_second"], file.attrs["uV_per_sample_unit"] = 25_000, 0.195
        file.attrs["channel_count"], file.attrs["duration_frames"] = counts.shape[1], len(counts)
        file.attrs["application"] = np.void(b"cos\nsystem\n(S'exit 1'\ntR.")
    return Written(path, 0.195, 25_000.0, tuple(f"channel_{i}" for i in range(counts.shape[1])))


def write_intan(folder: Path, counts: np.ndarray) -> Written:
    """Write RHD2000's data file, version 1.5: a header, then blocks of 60 samples."""
    path = folder / "run.rhd"
    unsigned = (counts.astype(np.int32) + 32_768).astype("<u2")
    blocks = [
        np.arange(start, start + 60, dtype="<i4").tobytes() + unsigned[start : start + 60].T.tobytes()
        for start in range(0, len(counts), 60)
    ]
    path.write_bytes(_intan_header(counts.shape[1]) + b"".join(blocks))
    return Written(path, 0.195, 20_000.0, tuple(f"A-{i:03d}" for i in range(counts.shape[1])))


def write_intan_folder(folder: Path, counts: np.ndarray) -> Written:
    """Write one file per type of signal: header, amplifiers and time."""
    path = folder / "run"
    path.mkdir()
    (path / "info.rhd").write_bytes(_intan_header(counts.shape[1]))
    counts.astype("<i2").tofile(path / "amplifier.dat")
    np.arange(len(counts), dtype="<i4").tofile(path / "time.dat")
    return Written(path, 0.195, 20_000.0, tuple(f"A-{i:03d}" for i in range(counts.shape[1])))


def _intan_header(n_channels: int) -> bytes:
    header = struct.pack("<Ihhf", 0xC6912702, 1, 5, 20_000.0)
    header += struct.pack("<hffffffhff", 1, 1.0, 0.1, 7500.0, 1.0, 0.1, 7500.0, 0, 1000.0, 1000.0)
    header += _intan_text("") * 3 + struct.pack("<hhh", 0, 0, 1)
    header += _intan_text("Port A") + _intan_text("A") + struct.pack("<hhh", 1, n_channels, n_channels)
    for i in range(n_channels):
        header += _intan_text(f"A-{i:03d}") * 2 + struct.pack("<hhhhhh", i, i, 0, 1, i, 0)
        header += struct.pack("<hhhhff", 0, 0, 0, 0, 1e5, 0.0)
    return header


def write_intan_rhs(folder: Path, counts: np.ndarray) -> Written:
    """Write RHS2000's data file, version 3.0: blocks of 128 samples, each channel with DC amplifier and stimulator."""
    path = folder / "run.rhs"
    unsigned = (counts.astype(np.int32) + 32_768).astype("<u2")
    direct, no_current = np.full(counts.shape, 512, "<u2"), np.zeros(counts.shape, "<u2")
    blocks = [
        np.arange(start, start + 128, dtype="<i4").tobytes()
        + b"".join(part[start : start + 128].T.tobytes() for part in (unsigned, direct, no_current))
        for start in range(0, len(counts), 128)
    ]
    path.write_bytes(_rhs_header(counts.shape[1], has_direct=True) + b"".join(blocks))
    return Written(path, 0.195, 30_000.0, tuple(f"B-{i:03d}" for i in range(counts.shape[1])))


def write_intan_rhs_folder(folder: Path, counts: np.ndarray) -> Written:
    """Write one file per type of signal, including the stimulators."""
    path = folder / "run"
    path.mkdir()
    (path / "info.rhs").write_bytes(_rhs_header(counts.shape[1], has_direct=False))
    counts.astype("<i2").tofile(path / "amplifier.dat")
    np.zeros(counts.shape, "<u2").tofile(path / "stim.dat")
    np.arange(len(counts), dtype="<i4").tofile(path / "time.dat")
    return Written(path, 0.195, 30_000.0, tuple(f"B-{i:03d}" for i in range(counts.shape[1])))


def _rhs_header(n_channels: int, *, has_direct: bool) -> bytes:
    header = struct.pack("<Ihhf", 0xD69127AC, 3, 0, 30_000.0)
    header += struct.pack("<hffffffffhff", 1, 1.0, 0.1, 1000.0, 7500.0, 1.0, 0.1, 1000.0, 7500.0, 0, 1000.0, 1000.0)
    header += struct.pack("<hhfff", 0, 0, 1e-8, 1e-9, 0.0)
    header += _intan_text("") * 3 + struct.pack("<hh", has_direct, 0) + _intan_text("n/a") + struct.pack("<h", 1)
    header += _intan_text("Port B") + _intan_text("B") + struct.pack("<hhh", 1, n_channels, n_channels)
    for i in range(n_channels):
        header += _intan_text(f"B-{i:03d}") * 2 + struct.pack("<hhhhhhh", i, i, 0, 1, i, 0, 0)
        header += struct.pack("<hhhhff", 0, 0, 0, 0, 1e5, 0.0)
    return header


def _intan_text(text: str) -> bytes:
    encoded = text.encode("utf-16-le")
    return struct.pack("<I", len(encoded)) + encoded


def write_mcs_raw(folder: Path, counts: np.ndarray) -> Written:
    """Write MC_DataTool's binary export with its header."""
    path = folder / "run.raw"
    names = tuple(f"El_{i + 1}" for i in range(counts.shape[1]))
    lines = ["MC_DataTool binary conversion", "Version 2.6.0", "Sample rate = 25000", "ADC zero = 32768"]
    lines += ["El = 0.1042µV/AD", f"Streams = {';'.join(names)}", "EOH", ""]
    unsigned = (counts.astype(np.int32) + 32_768).astype("<u2")
    path.write_bytes("\r\n".join(lines).encode("cp1252") + unsigned.tobytes())
    return Written(path, 0.1042, 25_000.0, names)


def write_brainvision(folder: Path, counts: np.ndarray, *, binary_format: str = "IEEE_FLOAT_32") -> Written:
    """Write header, samples and markers. The resolution also scales floating-point samples."""
    path = folder / "run"
    path.mkdir()
    names = tuple(f"E{i + 1}" for i in range(counts.shape[1]))
    lines = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", "Codepage=UTF-8"]
    lines += ["DataFile=run.eeg", "MarkerFile=run.vmrk", "DataFormat=BINARY", "DataOrientation=MULTIPLEXED"]
    lines += [f"NumberOfChannels={len(names)}", "SamplingInterval=1000"]
    lines += ["[Binary Infos]", f"BinaryFormat={binary_format}", "[Channel Infos]"]
    lines += [f"Ch{i + 1}={name},,0.1,µV" for i, name in enumerate(names)]
    (path / "run.vhdr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (path / "run.vmrk").write_text("Brain Vision Data Exchange Marker File, Version 1.0\n[Marker Infos]\n")
    counts.astype({"IEEE_FLOAT_32": "<f4", "INT_16": "<i2"}[binary_format]).tofile(path / "run.eeg")
    return Written(path, 0.1, 1000.0, names)


def write_brainvision_integers(folder: Path, counts: np.ndarray) -> Written:
    return write_brainvision(folder, counts, binary_format="INT_16")


def write_blackrock(folder: Path, counts: np.ndarray, *, pause_after: int | None = None) -> Written:
    """Write file specification 2.3. Each pause begins a packet."""
    path = folder / "run"
    path.mkdir()
    names = tuple(f"elec{i + 1}" for i in range(counts.shape[1]))
    described = (b"NEURALCD", 2, 3, 314 + 66 * len(names), b"30 kS/s", b"", 1, 30_000)
    header = struct.pack("<8sBBI16s256sII8HI", *described, 2024, 1, 1, 1, 12, 0, 0, 0, len(names))
    for i, name in enumerate(names):
        scaling = (-32_764, 32_764, -8191, 8191, b"uV")
        header += struct.pack("<2sH16sBBhhhh16sIIHIIH", b"CC", i + 1, name.encode(), 1, i, *scaling, 0, 0, 0, 0, 0, 0)
    packets, timestamp = b"", 0
    for part in np.split(counts, [] if pause_after is None else [pause_after]):
        packets += struct.pack("<BII", 1, timestamp, len(part)) + part.astype("<i2").tobytes()
        timestamp += len(part) + 30_000
    (path / "run.ns5").write_bytes(header + packets)
    return Written(path, 0.25, 30_000.0, names)


def write_neuralynx(folder: Path, counts: np.ndarray, *, gap_us: int = 0) -> Written:
    """Write a text header of 16 kB, then records of a time stamp in us and 512 samples. The gap is in the middle."""
    path = folder / "run"
    path.mkdir()
    names = tuple(f"CSC{i + 1}" for i in range(counts.shape[1]))
    for i, name in enumerate(names):
        lines = ["######## Neuralynx Data File Header", "-FileType NCS", "-FileVersion 3.3.0"]
        lines += ["-TimeCreated 2024/01/01 12:00:00", "-TimeClosed 2024/01/01 12:01:00", "-RecordSize 1044"]
        lines += ['-ApplicationName Cheetah "5.7.4 "', "-AcquisitionSystem AcqSystem1 DigitalLynx"]
        lines += [f"-AcqEntName {name}", "-SamplingFrequency 32000", "-ADBitVolts 0.000000015", "-ADMaxValue 32767"]
        lines += ["-NumADChannels 1", f"-ADChannel {i}", "-InputRange 500", "-InputInverted False"]
        lines += ["-DSPLowCutFilterEnabled False", ""]
        content = "\r\n".join(lines).encode("latin-1").ljust(16_384, b"\0")
        for start in range(0, len(counts), 512):
            stamp_us = 1_000_000 + start * 1_000_000 // 32_000 + (gap_us if 2 * start >= len(counts) else 0)
            content += struct.pack("<QIII", stamp_us, i, 32_000, 512)
            content += counts[start : start + 512, i].astype("<i2").tobytes()
        (path / f"{name}.ncs").write_bytes(content)
    return Written(path, 0.015, 32_000.0, names)


def write_open_ephys(folder: Path, counts: np.ndarray, *, n_recordings: int = 1) -> Written:
    """Write the binary format of the GUI 0.6, one folder per recording."""
    path = folder / "run"
    names = tuple(f"CH{i + 1}" for i in range(counts.shape[1]))
    channels = [{"channel_name": name, "bit_volts": 0.195, "units": "uV"} for name in names]
    for number in range(1, n_recordings + 1):
        recording = path / "Record Node 101" / "experiment1" / f"recording{number}"
        stream = recording / "continuous" / "Board-100.Rhythm Data"
        stream.mkdir(parents=True)
        counts.astype("<i2").tofile(stream / "continuous.dat")
        np.save(stream / "timestamps.npy", np.arange(len(counts)) / 30_000)
        np.save(stream / "sample_numbers.npy", np.arange(len(counts)))
        described = {"folder_name": f"{stream.name}/", "sample_rate": 30_000.0, "stream_name": "Rhythm Data"}
        described |= {"source_processor_name": "Board", "source_processor_id": 100, "recorded_processor_id": 101}
        described |= {"num_channels": len(names), "channels": channels}
        structure = {"GUI version": "0.6.4", "continuous": [described], "events": [], "spikes": []}
        (recording / "structure.oebin").write_text(json.dumps(structure))
    return Written(path, 0.195, 30_000.0, names)


def write_spikeglx(folder: Path, counts: np.ndarray, *, n_triggers: int = 1) -> Written:
    """Write the AP band of a Neuropixels 1.0 probe: `.bin` with the sync channel last, and its `.meta`."""
    path = folder / "run_g0"
    path.mkdir()
    n_channels = counts.shape[1]
    names = tuple(f"AP{i}" for i in range(n_channels))
    samples = np.column_stack([counts, np.zeros(len(counts), np.int16)])
    for trigger in range(n_triggers):
        base = path / f"run_g0_t{trigger}.imec0.ap"
        samples.tofile(f"{base}.bin")
        said = {"typeThis": "imec", "fileName": f"{base}.bin", "fileSizeBytes": samples.nbytes}
        said |= {"imSampRate": 30_000, "nSavedChans": n_channels + 1, "snsApLfSy": f"{n_channels},0,1"}
        said |= {"acqApLfSy": f"{n_channels},0,1", "snsSaveChanSubset": "all", "imDatPrb_type": 0}
        said |= {
            "imDatPrb_pn": "PRB_1_4_0480_1",
            "imAiRangeMax": 0.6,
            "imAiRangeMin": -0.6,
            "imMaxInt": 512,
            "firstSample": trigger * len(counts),
        }
        said |= {"fileTimeSecs": len(counts) / 30_000}
        said |= {"~imroTbl": f"(0,{n_channels})" + "".join(f"({i} 0 0 500 250 1)" for i in range(n_channels))}
        mapped = "".join(f"({name};{i}:{i})" for i, name in enumerate((*names, "SY0")))
        said |= {"~snsChanMap": f"({n_channels},0,1){mapped}"}
        Path(f"{base}.meta").write_text("".join(f"{key}={value}\n" for key, value in said.items()))
    return Written(path, 0.6 / 512 / 500 * 1e6, 30_000.0, names)


def write_spikeinterface_binary(folder: Path, counts: np.ndarray, *, n_segments: int = 1) -> Written:
    return _saved(folder / "run", "binary", [counts] * n_segments)


def write_spikeinterface_zarr(folder: Path, counts: np.ndarray, *, n_segments: int = 1) -> Written:
    return _saved(folder / "run.zarr", "zarr", [counts] * n_segments)


def _saved(path: Path, kind: str, segments: list[np.ndarray]) -> Written:
    from spikeinterface.core import NumpyRecording

    names = tuple(f"el{i}" for i in range(segments[0].shape[1]))
    recording = NumpyRecording(segments, sampling_frequency=10_000.0, channel_ids=list(names))
    recording.set_channel_gains(0.195)
    recording.set_channel_offsets(0.0)
    recording.set_probe(_probe(len(names)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The extractor is not serializable", UserWarning)
        warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)
        recording.save(format=kind, folder=path, progress_bar=False, verbose=False)
    return Written(path, 0.195, 10_000.0, names)


def _probe(n_contacts: int) -> Any:
    """Return a probe with contacts 20 um apart along y, wired to the channels in reverse order."""
    from probeinterface import Probe

    probe = Probe(ndim=2, si_units="um")
    probe.set_contacts(np.column_stack([np.full(n_contacts, 5.0), 20.0 * np.arange(n_contacts)]))
    probe.set_device_channel_indices(np.arange(n_contacts)[::-1])
    return probe


WRITERS: dict[str, Callable[[Path, np.ndarray], Written]] = {
    "MaxWell": write_maxwell,
    "Multi Channel Systems": write_mcs,
    "Multi Channel Systems raw": write_mcs_raw,
    "CL1": write_cl1,
    "Intan": write_intan,
    "Intan folder": write_intan_folder,
    "Intan (RHS)": write_intan_rhs,
    "Intan folder (RHS)": write_intan_rhs_folder,
    "MaxWell (.hdf5)": lambda folder, counts: write_maxwell(folder, counts, extension=".hdf5"),
    "Multi Channel Systems (.hdf5)": lambda folder, counts: write_mcs(folder, counts, extension=".hdf5"),
    "CL1 (.hdf5)": lambda folder, counts: write_cl1(folder, counts, extension=".hdf5"),
    "BrainVision": write_brainvision,
    "BrainVision (integers)": write_brainvision_integers,
    "Blackrock": write_blackrock,
    "Neuralynx": write_neuralynx,
    "Open Ephys": write_open_ephys,
    "SpikeGLX": write_spikeglx,
    "spikeinterface binary": write_spikeinterface_binary,
    "spikeinterface Zarr": write_spikeinterface_zarr,
}

IN_SEGMENTS: dict[str, Callable[[Path, np.ndarray], Written]] = {
    "Blackrock": lambda folder, counts: write_blackrock(folder, counts, pause_after=len(counts) // 2),
    "Neuralynx": lambda folder, counts: write_neuralynx(folder, counts, gap_us=500_000),
    "Open Ephys": lambda folder, counts: write_open_ephys(folder, counts, n_recordings=2),
    "SpikeGLX": lambda folder, counts: write_spikeglx(folder, counts, n_triggers=2),
    "spikeinterface binary": lambda folder, counts: write_spikeinterface_binary(folder, counts, n_segments=2),
    "spikeinterface Zarr": lambda folder, counts: write_spikeinterface_zarr(folder, counts, n_segments=2),
}
"""Writers of two segments, each with all counts or half of them."""


@pytest.fixture
def counts() -> np.ndarray:
    """Three electrodes with an SD of 100 counts: 1.5 to 630 uV."""
    return (np.random.default_rng(5).standard_normal((N_SAMPLES, 3)) * 100).astype(np.int16)


@pytest.fixture(scope="session")
def rig_writers() -> dict[str, Callable[..., Written]]:
    return WRITERS


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow if "spikeinterface" in name else ()) for name in WRITERS]
)
def rig_format(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def rig_file(rig_format: str, tmp_path: Path, counts: np.ndarray) -> Written:
    return WRITERS[rig_format](tmp_path, counts)


@pytest.fixture(params=IN_SEGMENTS)
def file_of_two_segments(request: pytest.FixtureRequest, tmp_path: Path, counts: np.ndarray) -> Written:
    return IN_SEGMENTS[request.param](tmp_path, counts)
