"""A simulated recording as an NWB file, with the true network in scratch space.

The texts in the file are part of its bytes. If one changes, simulating again no longer matches the raw files in lakes.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import h5py
import numpy as np
from hdmf.common import DynamicTable, VectorData
from pynwb import NWBHDF5IO, H5DataIO, NWBFile, TimeSeries
from pynwb.file import Subject

from voltpipe.simulation.network import BRUNEL_NETWORK
from voltpipe.simulation.simulated_recording import SimulatedRecording

_FIRST_SESSION = datetime(2000, 1, 1, tzinfo=UTC)
_SUBJECT = "simulated network of leaky integrate-and-fire neurons"
_VOLTAGE = "membrane potential, a column a neuron; the rows of scratch/channels name them"


def write_nwb(recording: SimulatedRecording, path: Path, *, organoid: str) -> None:
    """Write `recording` to `path`. The same recording always gives the same bytes.

    The voltage is `acquisition/voltage`, a TimeSeries in volts stored as mV with a conversion, in chunks of 1 s of all
    channels. The spikes are in the units table. Scratch space holds the tables `channels` (`channel_name`,
    `channel_type`) and `connections` (`source`, `target`, `weight_mv`). `notes` holds the recording's facts as JSON.
    """
    session = _FIRST_SESSION + timedelta(
        hours=recording.run
    )  # a simulation has no date; these keep the order of recordings
    nwb = NWBFile(
        session_description=f"simulated membrane potentials of preparation {recording.preparation.value}",
        identifier=f"{organoid}--{recording.name}",
        session_start_time=session,
        file_create_date=session,
        keywords=["simulation", "membrane potential", recording.preparation.value],
        notes=json.dumps(recording.facts),
        subject=Subject(subject_id=organoid, description=_SUBJECT),
    )
    nwb.add_acquisition(_voltage(recording))
    _add_units(nwb, recording)
    nwb.add_scratch(_channels(recording))
    nwb.add_scratch(_connections(recording))
    _set_reproducible_ids(nwb)
    # Not opened by pynwb, which warns about paths without ".nwb", such as those of `atomic_write`.
    with h5py.File(path, "w") as file:
        NWBHDF5IO(file=file, mode="w").write(nwb)


def channel_names(n_channels: int) -> list[str]:
    """Return the names of the neurons, in order."""
    return [f"neuron_{channel:03d}" for channel in range(n_channels)]


def _voltage(recording: SimulatedRecording) -> TimeSeries:
    n_samples, n_channels = recording.voltage_mv.shape
    chunks = (min(n_samples, round(recording.rate_hz)), n_channels)
    return TimeSeries(
        name="voltage",
        description=_VOLTAGE,
        data=H5DataIO(recording.voltage_mv, chunks=chunks),
        unit="volts",
        conversion=1e-3,
        rate=recording.rate_hz,
    )


def _add_units(nwb: NWBFile, recording: SimulatedRecording) -> None:
    duration_s = len(recording.voltage_mv) / recording.rate_hz
    nwb.add_unit_column("cell_type", "excitatory or inhibitory")
    for neuron, cell_type in enumerate(recording.neuron_types):
        spike_times_s = recording.spike_times_ms[recording.spike_neurons == neuron] / 1e3
        nwb.add_unit(spike_times=spike_times_s, obs_intervals=[[0.0, duration_s]], cell_type=cell_type)
    nwb.units.resolution = BRUNEL_NETWORK.step_ms / 1e3


def _channels(recording: SimulatedRecording) -> DynamicTable:
    columns = {
        "channel_name": (channel_names(len(recording.neuron_types)), "name of the neuron in this column of voltage"),
        "channel_type": (list(recording.neuron_types), "excitatory or inhibitory"),
    }
    return _table("channels", "what each column of acquisition/voltage records", columns)


def _connections(recording: SimulatedRecording) -> DynamicTable:
    sources, targets = np.nonzero(recording.weights_mv)
    columns = {
        "source": (sources, "column of the neuron that spikes"),
        "target": (targets, "column of the neuron whose voltage it shifts"),
        "weight_mv": (recording.weights_mv[sources, targets], "shift of the target's voltage, in mV"),
    }
    return _table("connections", "the simulated network's synapses, which no rig can see", columns)


def _table(name: str, description: str, columns: dict[str, tuple[Any, str]]) -> DynamicTable:
    return DynamicTable(
        name=name,
        description=description,
        columns=[VectorData(name=column, data=data, description=text) for column, (data, text) in columns.items()],
    )


def _set_reproducible_ids(nwb: NWBFile) -> None:
    """Derive the ids of objects from their paths in the file, so that simulating again gives the same bytes.

    hdmf sets random ids, and has no public way to change them.
    """
    for container in list(nwb.objects.values()):
        path = "/".join(_names_from_root(container))
        container._AbstractContainer__object_id = str(uuid5(NAMESPACE_URL, f"{nwb.identifier}/{path}"))


def _names_from_root(container: Any) -> list[str]:
    return [] if container is None else [*_names_from_root(container.parent), container.name]
