"""Simulated recordings as raw files in the lake."""

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
    """A simulated recording that cannot be written to the lake."""


def write_raw_files(
    settings: SimulationSettings, lake: Lake, organoid: str, file_format: RawFormat = RawFormat.NWB
) -> Iterator[Path]:
    """Simulate recordings into `raw/<organoid>/` of the lake, and yield the path of each once it is written.

    Each recording of `brunel` has its own network, and so its own organoid: `<organoid>_000` and so on.

    Raises:
        SimulationError: a file of that name has different content.
        LakeError: `organoid` is not allowed as a name.
    """
    RecordingKey(organoid, "run")  # refuses a bad name before the simulation
    for recording in simulate(settings, lake.root / "cache" / "brian2"):
        own_network = settings.preparation is Preparation.BRUNEL
        name = f"{organoid}_{recording.run:03d}" if own_network else organoid
        yield write_recording(recording, lake, name, file_format)


def write_recording(recording: SimulatedRecording, lake: Lake, organoid: str, file_format: RawFormat) -> Path:
    """Write one recording as a raw file. If the file already holds the same recording, its bytes stay the same.

    Raises:
        SimulationError: a file of that name has different content.
    """
    key = RecordingKey(organoid, recording.name)
    folder = lake.raw / key.organoid
    return _write_nwb(recording, folder) if file_format is RawFormat.NWB else _write_text(recording, folder)


def _write_nwb(recording: SimulatedRecording, folder: Path) -> Path:
    os.environ.setdefault("PYNWB_NO_CACHE_DIR", "1")  # otherwise pynwb writes a pickle to the home folder
    from voltpipe.simulation.nwb_writer import write_nwb

    path = folder / f"{recording.name}.nwb"
    _write_once(path, lambda partial: write_nwb(recording, partial, organoid=folder.name))
    return path


def _write_text(recording: SimulatedRecording, folder: Path) -> Path:
    path = folder / f"run_{recording.run}_voltages.dat"
    # The sidecar is written first, so that it is there when the recording is found.
    _write_once(path.with_suffix(".yaml"), lambda partial: _write_sidecar(recording, partial))
    _write_once(path, lambda partial: _write_text_table(recording, partial))
    return path


def _write_once(path: Path, write: Callable[[Path], None]) -> None:
    with atomic_write(path) as partial:
        write(partial)
        if path.exists() and file_digest(path) != file_digest(partial):
            raise SimulationError(
                f"{path} exists and holds a different recording. Raw files are never changed. "
                "Choose another organoid name or a higher first recording.",
                code="raw-content-differs",
            )


def _write_text_table(recording: SimulatedRecording, path: Path) -> None:
    """Write time in ms, then one column per neuron in mV, rounded to 1e-4, separated by spaces, without a header."""
    times_ms = np.arange(len(recording.voltage_mv)) * 1e3 / recording.rate_hz
    columns = np.column_stack((times_ms, recording.voltage_mv))
    np.savetxt(path, columns, fmt=["%.3f"] + ["%.4f"] * recording.voltage_mv.shape[1])


def _write_sidecar(recording: SimulatedRecording, path: Path) -> None:
    """Write as YAML what the text format cannot hold."""
    hints = {"preparation": recording.preparation.value, "channel_types": list(recording.neuron_types)}
    path.write_text(yaml.safe_dump(hints, sort_keys=False))
