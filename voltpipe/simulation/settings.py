"""Settings of simulations: preparation, number and length of recordings, file format."""

from enum import StrEnum

from pydantic import Field

from voltpipe.schema import Settings


class Preparation(StrEnum):
    """The reference preparations, which differ in what their recordings share."""

    BRUNEL = "brunel"
    """A new network for each recording, as in the published proof of concept."""
    ORGANOID = "organoid"
    """One network, recorded again and again, as in a laboratory."""


class RawFormat(StrEnum):
    """The file format of simulated raw recordings."""

    NWB = "nwb"
    """Neurodata Without Borders, one `run_000.nwb` per recording."""
    TEXT = "text"
    """`run_0_voltages.dat` of the proof of concept: time in ms, then one column per neuron in mV."""


class SimulationSettings(Settings):
    """Recordings `first_recording` to `first_recording + n_recordings` (exclusive) of a preparation."""

    preparation: Preparation = Field(
        Preparation.ORGANOID, description="Preparation: brunel (a new network per recording) or organoid (one network)."
    )
    n_recordings: int = Field(50, ge=1, le=1000, description="Number of recordings to simulate.")
    first_recording: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Number of the first recording. To add to existing recordings, give the next free number.",
    )
    seconds: float = Field(10.0, gt=1, le=60, description="Length of each recording, in s.")
    network_seed: int = Field(
        72, ge=0, le=2**31, description="Seed of the organoid's network. Recording r of brunel uses this seed plus r."
    )
