"""A small seeded recording, and how each format holds it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from voltpipe.lake import Lake
from voltpipe.recordings.condition_raw import ConditioningOutcome
from voltpipe.recordings.history import Verdict

RATE_HZ = 1000.0
NAMES = ("a", "b", "c")


def membrane_mv(n_samples: int, seed: int = 0) -> np.ndarray:
    """Three membrane potentials about -65, -60 and -55 mV with an SD of 4 mV."""
    rng = np.random.default_rng(seed)
    return (np.array([-65, -60, -55]) + 4 * rng.standard_normal((n_samples, 3))).astype(np.float32)


def write_nwb(path: Path, signal_mv: np.ndarray, *, notes: str | None = None, **series: object) -> None:
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.core import DynamicTable

    file = NWBFile(
        session_description="test",
        identifier=path.stem,
        session_start_time=datetime(2024, 1, 1, tzinfo=UTC),
        notes=notes,
    )
    timing = {"rate": RATE_HZ} if "timestamps" not in series else {}
    file.add_acquisition(
        TimeSeries(**{"name": "voltage", "data": signal_mv, "unit": "volts", "conversion": 1e-3, **timing, **series})
    )
    channels = DynamicTable(name="channels", description="one row a channel")
    channels.add_column("channel_name", "name")
    channels.add_column("channel_type", "type")
    for name in NAMES[: signal_mv.shape[1]]:
        channels.add_row(channel_name=name, channel_type="excitatory")
    file.add_scratch(channels)
    with NWBHDF5IO(path, "w") as io:
        io.write(file)


def write_text(path: Path, signal_mv: np.ndarray) -> None:
    np.savetxt(path, np.column_stack([np.arange(len(signal_mv)), signal_mv]), fmt="%.9g")


def write_csv(path: Path, signal_mv: np.ndarray) -> None:
    table = np.column_stack([np.arange(len(signal_mv)) / RATE_HZ, signal_mv.astype(np.float64) * 1000])
    header = ",".join(["time_s", *(f"{name} [uV]" for name in NAMES[: signal_mv.shape[1]])])
    np.savetxt(path, table, fmt="%.12g", delimiter=",", header=header, comments="")


def write_npy(path: Path, signal_mv: np.ndarray) -> None:
    np.save(path, signal_mv.astype(np.float64) / 1000)
    names = ", ".join(NAMES[: signal_mv.shape[1]])
    path.with_suffix(".yaml").write_text(f"unit: V\nrate_hz: {RATE_HZ}\nchannel_names: [{names}]\n")


def write_npz(path: Path, signal_mv: np.ndarray) -> None:
    names = NAMES[: signal_mv.shape[1]]
    np.savez_compressed(path, voltage=signal_mv, rate_hz=RATE_HZ, unit="mV", channel_names=names)


def write_parquet(path: Path, signal_mv: np.ndarray) -> None:
    columns = {name: signal_mv[:, i] for i, name in enumerate(NAMES[: signal_mv.shape[1]])}
    table = pa.table(columns).replace_schema_metadata({"unit": "mV", "rate_hz": str(RATE_HZ)})
    pq.write_table(table, path, row_group_size=1024)


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "nwb": write_nwb,
    "dat": write_text,
    "csv": write_csv,
    "npy": write_npy,
    "npz": write_npz,
    "parquet": write_parquet,
}


@dataclass
class MadeRecording:
    """A `Recording` whose samples are made when they are read; remembers the largest range that was asked for."""

    make_mv: Callable[[int, int], np.ndarray]
    n_samples: int
    rate_hz: float = RATE_HZ
    channel_names: tuple[str, ...] = NAMES
    segment_starts: tuple[int, ...] = (0,)
    positions_um: np.ndarray | None = None
    facts: dict[str, str | int | float] = field(default_factory=dict)
    most_samples_read: int = 0

    @property
    def channel_types(self) -> tuple[str, ...]:
        return ("unknown",) * len(self.channel_names)

    def read_mv(self, start_sample: int, stop_sample: int) -> np.ndarray:
        self.most_samples_read = max(self.most_samples_read, stop_sample - start_sample)
        return self.make_mv(start_sample, stop_sample)


@pytest.fixture
def signal_mv() -> np.ndarray:
    return membrane_mv(5000)


@pytest.fixture
def make_signal() -> Callable[..., np.ndarray]:
    return membrane_mv


@pytest.fixture
def writers() -> dict[str, Callable[..., None]]:
    return WRITERS


@pytest.fixture
def recording_of() -> Callable[..., MadeRecording]:
    """Makes a recording of an array in mV."""

    def make(samples_mv: np.ndarray, **facts: object) -> MadeRecording:
        samples_mv = samples_mv.astype(np.float32)
        names = tuple(f"ch{i}" for i in range(samples_mv.shape[1]))
        known = {"channel_names": names, **facts}
        return MadeRecording(lambda start, stop: samples_mv[start:stop], len(samples_mv), **known)

    return make


@pytest.fixture
def made_recording() -> type[MadeRecording]:
    return MadeRecording


@pytest.fixture
def causes() -> Callable[[ConditioningOutcome], set[str]]:
    """Name why a recording is quarantined: the checks it failed, or else the error's code."""

    def causes(outcome: ConditioningOutcome) -> set[str]:
        assert outcome.verdict is Verdict.QUARANTINED
        if outcome.code == "quality-check-failed":
            assert outcome.report is not None
            return {check.name for check in outcome.report.errors}
        return {outcome.code}

    return causes


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def put_raw(lake: Lake) -> Callable[..., Path]:
    """Writes samples into the raw folder as a rig would leave them, by default as text."""

    def put(name: str, samples_mv: np.ndarray, organoid: str = "org") -> Path:
        path = lake.raw / organoid / name
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[path.suffix[1:]](path, samples_mv)
        return path

    return put
