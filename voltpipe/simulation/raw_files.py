"""Simulated recordings as raw files in the lake, where they are recordings like any other."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml

from voltpipe.errors import VoltpipeError
from voltpipe.lake.files import atomic_write, file_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.simulation.settings import Preparation, RawFormat, SimulationSettings
from voltpipe.simulation.simulate import simulate
from voltpipe.simulation.simulated_recording import SimulatedRecording


class SimulationError(VoltpipeError):
    """A simulated recording that cannot be written."""


def write_raw_files(
    settings: SimulationSettings, lake: Lake, organoid: str, file_format: RawFormat = RawFormat.NWB
) -> Iterator[Path]:
    """Simulate recordings into `raw/<organoid>/` of the lake, and yield the path of each when it is there.

    Each recording of `brunel` is of another network, and so of another organoid: `<organoid>_000` and so on.

    Raises:
        SimulationError: a file of that name holds something else.
        LakeError: `organoid` cannot name one.
    """
    RecordingKey(organoid, "run")  # refuses the name before the work, not after
    for recording in simulate(settings, lake.root / "cache" / "brian2"):
        is_another = settings.preparation is Preparation.BRUNEL
        yield write_recording(
            recording, lake, f"{organoid}_{recording.run:03d}" if is_another else organoid, file_format
        )


def write_recording(recording: SimulatedRecording, lake: Lake, organoid: str, file_format: RawFormat) -> Path:
    """Write one recording as a raw file. A file that already holds the same recording is left with the same bytes.

    Raises:
        SimulationError: a file of that name holds something else.
    """
    key = RecordingKey(organoid, recording.name)
    folder = lake.raw / key.organoid
    return _write_nwb(recording, folder) if file_format is RawFormat.NWB else _write_text(recording, folder)


def _write_nwb(recording: SimulatedRecording, folder: Path) -> Path:
    os.environ.setdefault("PYNWB_NO_CACHE_DIR", "1")  # or pynwb keeps a pickle in the user's home
    from voltpipe.simulation.nwb_writer import write_nwb

    path = folder / f"{recording.name}.nwb"
    _write_once(path, lambda aside: write_nwb(recording, aside, organoid=folder.name))
    return path


def _write_text(recording: SimulatedRecording, folder: Path) -> Path:
    from voltpipe.simulation.raw_files import write_sidecar, write_text

    path = folder / f"run_{recording.run}_voltages.dat"
    # The sidecar first, so that whoever finds the recording finds what belongs to it.
    _write_once(path.with_suffix(".yaml"), lambda aside: write_sidecar(recording, aside))
    _write_once(path, lambda aside: write_text(recording, aside))
    return path


def _write_once(path: Path, write: Callable[[Path], None]) -> None:
    with atomic_write(path) as aside:
        write(aside)
        if path.exists() and file_digest(path) != file_digest(aside):
            raise SimulationError(
                f"{path} exists and holds a different recording. Raw files are never changed. "
                "Choose another organoid name or a higher first recording.",
                code="raw-content-differs",
            )


def write_text(recording: SimulatedRecording, path: Path) -> None:
    """Write time in ms and then a column a neuron in mV, rounded to 1e-4, separated by blanks, without a header."""
    times_ms = np.arange(len(recording.voltage_mv)) * 1e3 / recording.rate_hz
    columns = np.column_stack((times_ms, recording.voltage_mv))
    np.savetxt(path, columns, fmt=["%.3f"] + ["%.4f"] * recording.voltage_mv.shape[1])


def write_sidecar(recording: SimulatedRecording, path: Path) -> None:
    """Write as YAML what the text format cannot say."""
    said = {"preparation": recording.preparation.value, "channel_types": list(recording.neuron_types)}
    path.write_text(yaml.safe_dump(said, sort_keys=False))
