"""A tiny preparation that has to be forecast, for tests that carry recordings through several layers."""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from voltpipe.lake import Lake

RATE_HZ = 250.0


def _spiking_mv(seed: int, n_samples: int = 1500, n_channels: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    membrane_mv = rng.uniform(-70, -50, n_channels)
    voltage_mv = np.empty((n_samples, n_channels), np.float32)
    for sample in range(n_samples):
        membrane_mv = membrane_mv + 0.12 * (-44 - membrane_mv) + rng.normal(0, 0.6, n_channels)
        membrane_mv = np.where(membrane_mv > -50, -70, membrane_mv)
        voltage_mv[sample] = membrane_mv
    return voltage_mv


@pytest.fixture(scope="session")
def spiking_mv() -> Callable[..., np.ndarray]:
    """Neurons that charge towards -44 mV, and fall back to -70 mV as soon as they pass -50 mV; by seed.

    The present voltage says more of the next than any linear rule can: at 1 sample the look-up reaches an R2 of about
    0.65, autoregression 0.5, persistence 0.05.
    """
    return _spiking_mv


@pytest.fixture(scope="session")
def put_recording() -> Callable[..., Path]:
    """Writes a voltage into a lake's raw folder as a rig would leave it, at 250 Hz."""

    def put(lake: Lake, name: str, samples_mv: np.ndarray, organoid: str = "slice") -> Path:
        path = lake.raw / organoid / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, voltage=samples_mv, rate_hz=RATE_HZ, unit="mV")
        return path

    return put


@pytest.fixture(scope="session")
def unpack_old_lake() -> Callable[[Path], Lake]:
    """Unpacks the lake that version 0.1.0 wrote into a folder."""

    def unpack(folder: Path) -> Lake:
        with tarfile.open(Path(__file__).parent / "old_lakes" / "lake-0.1.0.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        return Lake(folder / "lake")

    return unpack


@pytest.fixture(scope="session")
def working_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder to work in, and an environment that nothing of a test is left in."""
    folder = tmp_path_factory.mktemp("working_directory")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("DAGSTER_HOME", "VOLTPIPE_DATA_LAKE", "VOLTPIPE_DAGSTER_URL", "VOLTPIPE_MLFLOW_URL"):
            patch.setenv(variable, "")
            patch.delenv(variable)
        yield folder
