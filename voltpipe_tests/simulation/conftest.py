from pathlib import Path

import pytest

from voltpipe.simulation.settings import Preparation, SimulationSettings
from voltpipe.simulation.simulate import simulate
from voltpipe.simulation.simulated_recording import SimulatedRecording


@pytest.fixture(scope="session")
def compiled(slow_to_make: None) -> Path:
    """Brian2's compiled code, kept between test runs: compiling it takes half a minute."""
    return Path(__file__).parents[2] / "build" / "brian2"


@pytest.fixture(scope="session")
def brunel_run_0(compiled: Path) -> SimulatedRecording:
    (recording,) = simulate(SimulationSettings(preparation=Preparation.BRUNEL, n_recordings=1), compiled)
    return recording


@pytest.fixture(scope="session")
def organoid_recordings(compiled: Path) -> list[SimulatedRecording]:
    """The first three, 1.5 s each."""
    return list(simulate(SimulationSettings(n_recordings=3, seconds=1.5), compiled))
