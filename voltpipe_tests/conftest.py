"""Settings and fixtures of all tests, and a tiny preparation for tests that span several layers."""

import errno
import fcntl
import gc
import os
import pkgutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
from filelock import FileLock

# Set before torch starts its threads, also for every process that a test starts. Tensors here are tiny, so a second
# thread would only take a core from another test.
os.environ["OMP_NUM_THREADS"] = "1"
# Shapes and types are checked at run time, except in voltpipe.pipeline: Dagster inspects the functions of its assets,
# which must therefore stay unwrapped. Installed here because the workers of pytest-xdist ignore jaxtyping's own option.
_PACKAGES = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parents[1] / "voltpipe")])]
jaxtyping.install_import_hook([f"voltpipe.{name}" for name in _PACKAGES if name != "pipeline"], "beartype.beartype")

from voltpipe.lake.paths import Lake  # noqa: E402
from voltpipe.tracking.mlflow_store import TrackingStore  # noqa: E402

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
def slow_to_make() -> None:
    """Mark tests as slow: fixtures that take long to make request it, and so does every test that uses them."""


def pytest_configure(config: pytest.Config) -> None:
    """Load the shared fixtures, except in the controller of pytest-xdist, which collects and runs no test."""
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        return
    for name in ("evaluation", "forecasting", "pipeline", "recordings", "simulation", "tracking"):
        config.pluginmanager.import_plugin(f"voltpipe_tests.fixtures.{name}")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "slow_to_make" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    # Slow tests come first, so that at the end no worker waits long for the last test of another.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """Exempt all that is imported by now from garbage collections: some libraries call them for each file."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder once per test run: the first worker makes it, and the others wait for it and read it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        made, done = folder / name, folder / f"{name}.done"
        with FileLock(folder / f"{name}.lock"):
            if not done.exists():
                made.mkdir()
                fill(made)
                done.touch()
        return made

    return make


@pytest.fixture(scope="session")
def prepared_mlflow(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """An empty, migrated MLflow store for tests to copy, because the migrations take a second."""
    return made_once("prepared_mlflow", lambda folder: TrackingStore(folder).prepare())


@pytest.fixture(scope="session")
def spiking_mv() -> Callable[..., np.ndarray]:
    """Simulate neurons that charge towards -44 mV and are reset to -70 mV when they exceed -50 mV; by seed.

    The next voltage depends on the present one more than a linear rule can express. At 1 sample, the lookup table
    reaches an R2 of about 0.65, autoregression 0.5 and persistence 0.05.
    """
    return _spiking_mv


@pytest.fixture(scope="session")
def put_recording() -> Callable[..., Path]:
    """Write a voltage at 250 Hz into a lake's raw folder, as a rig would."""

    def put(lake: Lake, name: str, samples_mv: np.ndarray, organoid: str = "slice") -> Path:
        path = lake.raw / organoid / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, voltage=samples_mv, rate_hz=RATE_HZ, unit="mV")
        return path

    return put


@pytest.fixture
def nfs_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock as Linux does on NFS ("man 2 flock"): an exclusive lock needs a file that is open for writing."""
    flock = fcntl.flock

    def nfs_flock(file: int | Any, operation: int) -> None:
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if operation & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", nfs_flock)


@pytest.fixture(scope="session")
def unpack_old_lake() -> Callable[[Path], Lake]:
    """Unpack into a folder the lake that version 0.1.0 wrote."""

    def unpack(folder: Path) -> Lake:
        with tarfile.open(Path(__file__).parent / "old_lakes" / "lake-0.1.0.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        return Lake(folder / "lake")

    return unpack


@pytest.fixture(scope="session")
def working_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working directory, and an environment that is restored after the tests."""
    folder = tmp_path_factory.mktemp("working_directory")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("DAGSTER_HOME", "VOLTPIPE_DATA_LAKE", "VOLTPIPE_DAGSTER_URL", "VOLTPIPE_MLFLOW_URL"):
            patch.setenv(variable, "")
            patch.delenv(variable)
        yield folder
