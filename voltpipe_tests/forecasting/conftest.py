"""Window sets written by hand: a few short recordings of known processes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voltpipe.files import content_digest, write_json
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.window_set import INDEX_DTYPE, INDEX_FILE, MANIFEST_FILE, SAMPLES_FILE, Split, WindowSet

PHI = 0.8
"""How much of an AR(1) voltage's deviation is left after a sample."""
MEAN_MV = -60.0
CALIBRATION_ROWS = 20

RecordingsMv = Sequence[tuple[Split, np.ndarray]]


def _ar1_mv(seed: int, n_samples: int = 400, n_channels: int = 4) -> np.ndarray:
    """v(t + 1) + 60 mV = 0.8 (v(t) + 60 mV) + noise of 3 mV, so that its SD is 5 mV."""
    noise_mv = np.random.default_rng(seed).normal(0, 3, (n_samples, n_channels))
    voltage_mv = np.zeros_like(noise_mv)
    for sample in range(1, n_samples):
        voltage_mv[sample] = PHI * voltage_mv[sample - 1] + noise_mv[sample]
    return (voltage_mv + MEAN_MV).astype(np.float32)


def _write(folder: Path, recordings_mv: RecordingsMv, **settings: Any) -> WindowSet:
    settings = {"horizons_samples": (1, 2, 5)} | settings
    window_settings = WindowSettings(**{"context_samples": 30, "stride_samples": 5} | settings)
    samples, index, recordings, spans, row = [], [], [], [], 0
    for number, (split, voltage_mv) in enumerate(recordings_mv):
        mean_mv, sd_mv = voltage_mv.mean(0), voltage_mv.std(0)
        samples.append((voltage_mv - mean_mv) / sd_mv)
        stop_row = row + len(voltage_mv)
        starts = range(row, stop_row - window_settings.window_samples + 1, window_settings.stride_samples)
        index += [(number, start, split.code) for start in starts]
        spans.append([number, row, stop_row, split.value])
        recordings.append(
            {
                "key": f"slice--{number}",
                "digest": str(number),
                "start_row": row,
                "stop_row": stop_row,
                "calibration_stop_row": row + CALIBRATION_ROWS,
                "mean_mv": mean_mv.tolist(),
                "sd_mv": sd_mv.tolist(),
            }
        )
        row = stop_row
    training_mv = np.concatenate([mv for split, mv in recordings_mv if split is Split.TRAIN])
    n_channels = training_mv.shape[1]
    content = {
        "settings": window_settings.model_dump(mode="json"),
        "rate_hz": 1000.0,
        "channel_names": [f"neuron_{channel}" for channel in range(n_channels)],
        "channel_types": ["unknown"] * n_channels,
        "organoids": ["slice"],
        "preparation": "ar1",
        "roles": {},
        "recordings": recordings,
        "spans": spans,
        "train_mean_mv": training_mv.mean(0).tolist(),
    }
    folder.mkdir(parents=True)
    np.save(folder / SAMPLES_FILE, np.concatenate(samples).astype(np.float32))
    np.save(folder / INDEX_FILE, np.array(index, INDEX_DTYPE))
    write_json(folder / MANIFEST_FILE, content | {"digest": content_digest(content)})
    return WindowSet(folder)


@pytest.fixture
def write_window_set(tmp_path: Path) -> Callable[..., WindowSet]:
    """Writes a window set from (split, voltage in mV) pairs, one a recording, and window settings by name."""

    def write(recordings_mv: RecordingsMv, name: str = "windows", **settings: Any) -> WindowSet:
        return _write(tmp_path / name, recordings_mv, **settings)

    return write


@pytest.fixture(scope="session")
def ar1_mv() -> Callable[..., np.ndarray]:
    """Makes the voltage of channels that are AR(1) processes, by seed, samples and channels."""
    return _ar1_mv


@pytest.fixture(scope="session")
def ar1_windows(tmp_path_factory: pytest.TempPathFactory) -> WindowSet:
    """Three training recordings, one for validation and one for test, of four channels with an AR(1) voltage."""
    splits = [Split.TRAIN] * 3 + [Split.VALIDATION, Split.TEST]
    return _write(tmp_path_factory.mktemp("ar1") / "windows", [(split, _ar1_mv(n)) for n, split in enumerate(splits)])


RESET_MV = -70.0


def _planted_mv(weights_mv: np.ndarray, *, n_samples: int, seed: int = 0) -> np.ndarray:
    """Leaky neurons about -60 mV: from -53 mV on they spike, and stand at -70 mV for two samples.

    One sample after a spike is first seen, each receiver's voltage shifts by its weight.
    """
    random = np.random.default_rng(seed)
    n_channels = len(weights_mv)
    noise_mv = random.normal(0, 2, (n_samples, n_channels))
    voltage_mv = np.full((n_samples, n_channels), -60.0)
    spikes, held = np.zeros((2, n_channels))
    for sample in range(1, n_samples):
        free_mv = -60 + 0.9 * (voltage_mv[sample - 1] + 60) + spikes @ weights_mv + noise_mv[sample]
        spikes = (free_mv >= -53) & (held == 0)
        voltage_mv[sample] = np.where(spikes | (held > 0), RESET_MV, free_mv)
        held = np.where(spikes, 1, 0)
    return voltage_mv.astype(np.float32)


@pytest.fixture(scope="session")
def simulate_planted() -> Callable[..., np.ndarray]:
    """Simulates spiking neurons by their weights (sender, receiver) in mV, samples and seed."""
    return _planted_mv


@pytest.fixture(scope="session")
def planted_weights_mv() -> np.ndarray:
    """Twelve neurons, each with four receivers: nine excite by 2.5 mV, the last three inhibit by 8 mV."""
    random = np.random.default_rng(7)
    weights_mv = np.zeros((12, 12), np.float32)
    for sender in range(12):
        others = np.delete(np.arange(12), sender)
        weights_mv[sender, random.choice(others, 4, replace=False)] = 2.5 if sender < 9 else -8.0
    return weights_mv


@pytest.fixture(scope="session")
def planted_mv(planted_weights_mv: np.ndarray) -> np.ndarray:
    """Twenty seconds of that network, at 1 kHz."""
    return _planted_mv(planted_weights_mv, n_samples=20_000)


@pytest.fixture(scope="session")
def planted_windows(
    tmp_path_factory: pytest.TempPathFactory, planted_weights_mv: np.ndarray, planted_mv: np.ndarray
) -> WindowSet:
    """Those twenty seconds to train on, and other noise on the same network for validation and test."""
    held_out = [_planted_mv(planted_weights_mv, n_samples=3000, seed=seed) for seed in (1, 2)]
    splits = zip((Split.TRAIN, Split.VALIDATION, Split.TEST), (planted_mv, *held_out), strict=True)
    return _write(tmp_path_factory.mktemp("planted") / "windows", list(splits))
