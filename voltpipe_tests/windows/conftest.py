"""Small conditioned recordings, conditioned and stored as real ones are."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from voltpipe.lake.files import atomic_write, content_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition import condition
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import ConditionedRecording, open_conditioned
from voltpipe.windows.settings import WindowSettings

CALIBRATION = ConditioningSettings(trim_ms=0, calibration_s=0.4, minimum_s=0.2)


@dataclass(frozen=True)
class Recorded:
    """A recording in memory."""

    samples_mv: np.ndarray
    rate_hz: float
    channel_names: tuple[str, ...]
    segment_starts: tuple[int, ...]
    facts: dict[str, str | int | float]

    @property
    def positions_um(self) -> None:
        return None

    @property
    def channel_types(self) -> tuple[str, ...]:
        return ("unknown",) * len(self.channel_names)

    @property
    def n_samples(self) -> int:
        return len(self.samples_mv)

    def read_mv(self, start_sample: int, stop_sample: int) -> np.ndarray:
        return self.samples_mv[start_sample:stop_sample]


@pytest.fixture(scope="session")
def noise_mv() -> Callable[..., np.ndarray]:
    """An autoregressive voltage about -60 mV with an SD of 5 mV, by seed."""

    def make(seed: int, n_samples: int = 1000, n_channels: int = 8) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(0, 3, (n_samples, n_channels))
        for sample in range(1, n_samples):
            noise[sample] += 0.8 * noise[sample - 1]
        return (noise - 60).astype(np.float32)

    return make


@pytest.fixture
def conditioned(tmp_path: Path) -> Callable[..., ConditionedRecording]:
    """Conditions a voltage, without trimming; mean and SD are of its first 0.4 s, which are 100 samples at 250 Hz."""

    def make(
        key: str,
        samples_mv: np.ndarray,
        *,
        rate_hz: float = 250.0,
        names: tuple[str, ...] | None = None,
        segment_starts: tuple[int, ...] = (0,),
        settings: ConditioningSettings = CALIBRATION,
        **facts: str | int,
    ) -> ConditionedRecording:
        named = RecordingKey.parse(key)
        names = names or tuple(f"ch{channel}" for channel in range(samples_mv.shape[1]))
        path = tmp_path / "conditioned" / named.organoid / f"{named.recording}.parquet"
        digest = content_digest({"samples": samples_mv.tobytes().hex()})
        with atomic_write(path) as aside:
            recording = Recorded(samples_mv, rate_hz, names, segment_starts, facts)
            condition(recording, aside, settings, key=named, source_digest=digest)
        return open_conditioned(path)

    return make


@pytest.fixture
def five_recordings(conditioned, noise_mv) -> dict[str, ConditionedRecording]:
    """Of one organoid: 0, 1 and 3 are trained on, 2 is held out and 4 validates."""
    return {f"slice--run_{n}": conditioned(f"slice--run_{n}", noise_mv(n)) for n in range(5)}


@pytest.fixture(scope="session")
def settings() -> WindowSettings:
    """Windows of 20 samples and targets up to 5 ahead."""
    return WindowSettings(context_samples=20, horizons_samples=(1, 5), stride_samples=3)
