"""A simulated recording in the proof of concept's text format."""

from pathlib import Path

import numpy as np
import yaml

from voltpipe.simulation.simulated_recording import SimulatedRecording


def write_text(recording: SimulatedRecording, path: Path) -> None:
    """Write time in ms and then a column a neuron in mV, rounded to 1e-4, separated by blanks, without a header."""
    times_ms = np.arange(len(recording.voltage_mv)) * 1e3 / recording.rate_hz
    columns = np.column_stack((times_ms, recording.voltage_mv))
    np.savetxt(path, columns, fmt=["%.3f"] + ["%.4f"] * recording.voltage_mv.shape[1])


def write_sidecar(recording: SimulatedRecording, path: Path) -> None:
    """Write as YAML what the text format cannot say."""
    said = {"preparation": recording.preparation.value, "channel_types": list(recording.neuron_types)}
    path.write_text(yaml.safe_dump(said, sort_keys=False))
