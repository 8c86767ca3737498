"""Which reference recordings are simulated, and in which form they leave."""

from enum import StrEnum

from pydantic import Field

from voltpipe.schema import Settings


class Preparation(StrEnum):
    """What the recordings of one simulation have in common."""

    BRUNEL = "brunel"
    """Nothing: each recording is of another network. The published proof of concept's."""
    ORGANOID = "organoid"
    """The network: drawn once, recorded again and again. What a lab has."""


class RawFormat(StrEnum):
    """The file format of simulated raw recordings."""

    NWB = "nwb"
    """Neurodata Without Borders, one `run_000.nwb` a recording."""
    TEXT = "text"
    """The proof of concept's `run_0_voltages.dat`: time in ms, then a column a neuron in mV."""


class SimulationSettings(Settings):
    """Recordings `first_recording` to `first_recording + n_recordings` (not included) of a preparation."""

    preparation: Preparation = Field(Preparation.ORGANOID, description="brunel (a network a run) or organoid (one)")
    n_recordings: int = Field(50, ge=1, le=1000, description="how many recordings are simulated")
    first_recording: int = Field(0, ge=0, le=1_000_000, description="number of the first recording, to add to earlier")
    seconds: float = Field(10.0, gt=1, le=60, description="length of each recording, in s")
    network_seed: int = Field(
        72, ge=0, le=2**31, description="draws the organoid's network; brunel's run r uses network seed + r"
    )
