"""A simulated recording as an NWB file, as a rig would leave it, with the truth behind it in scratch space."""

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


def write_nwb(recording: SimulatedRecording, path: Path, *, organoid: str) -> None:
    """Write `recording` to `path`, the same bytes each time.

    The voltage is `acquisition/voltage`, a TimeSeries in volts stored as mV with a conversion, in chunks of 1 s of all
    channels. The spikes are the units table. Scratch space holds the tables `channels` (`channel_name`,
    `channel_type`) and `connections` (`source`, `target`, `weight_mv`); `notes` holds the recording's facts as JSON.
    """
    session = _FIRST_SESSION + timedelta(hours=recording.run)  # a simulation has no date; recordings keep their order
    nwb = NWBFile(
        session_description=f"simulated membrane potentials of preparation {recording.preparation.value}",
        identifier=f"{organoid}--{recording.name}",
        session_start_time=session,
        file_create_date=session,
        keywords=["simulation", "membrane potential", recording.preparation.value],
        notes=json.dumps(recording.facts),
        subject=Subject(subject_id=organoid, description="simulated network of leaky integrate-and-fire neurons"),
    )
    nwb.add_acquisition(_voltage(recording))
    _add_units(nwb, recording)
    nwb.add_scratch(_channels(recording))
    nwb.add_scratch(_connections(recording))
    _name_objects_alike(nwb)
    # Opened here and not by pynwb, which warns of a path that does not end in ".nwb", as one that is not whole yet.
    with h5py.File(path, "w") as file:
        NWBHDF5IO(file=file, mode="w").write(nwb)


def channel_names(n_channels: int) -> list[str]:
    """Names of the neurons, in order."""
    return [f"neuron_{channel:03d}" for channel in range(n_channels)]


def _voltage(recording: SimulatedRecording) -> TimeSeries:
    n_samples, n_channels = recording.voltage_mv.shape
    chunks = (min(n_samples, round(recording.rate_hz)), n_channels)
    return TimeSeries(
        name="voltage",
        description="membrane potential, a column a neuron; the rows of scratch/channels name them",
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


def _name_objects_alike(nwb: NWBFile) -> None:
    """Derive the objects' ids from their places in the file, so that simulating again gives the same bytes.

    hdmf draws them at random and offers no other way in.
    """
    for container in list(nwb.objects.values()):
        place = "/".join(_names_down_to(container))
        container._AbstractContainer__object_id = str(uuid5(NAMESPACE_URL, f"{nwb.identifier}/{place}"))


def _names_down_to(container: Any) -> list[str]:
    return [] if container is None else [*_names_down_to(container.parent), container.name]
