"""Peak memory of windowing, relative to the size of the conditioned samples.

    python benchmarks/windowing_memory.py [--recordings 20] [--seconds 60]

A separate process builds a window set from recordings of 100 channels at 1 kHz, and gathers every training window once,
in batches. Peak resident memory is printed without that of the imports, but including file-backed pages.
"""

import argparse
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.conditioning.condition import condition
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import conditioned_recordings
from voltpipe.windows.build_window_set import build_window_set
from voltpipe.windows.settings import WindowSettings
from voltpipe.windows.split_manifest import make_split_manifest
from voltpipe.windows.splits import Split

RATE_HZ, CHANNELS, BATCH = 1000.0, 100, 32
LIMIT = 1.2


@dataclass(frozen=True)
class Noise:
    """A recording of noise that is drawn on reading."""

    n_samples: int
    rate_hz: float = RATE_HZ
    channel_names: tuple[str, ...] = tuple(f"n{number}" for number in range(CHANNELS))
    channel_types: tuple[str, ...] = ("unknown",) * CHANNELS
    segment_starts: tuple[int, ...] = (0,)
    positions_um: None = None
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    def read_mv(self, start_sample: int, stop_sample: int) -> np.ndarray:
        """Draw noise; the same range gives the same values."""
        draws = np.random.default_rng(start_sample).standard_normal((stop_sample - start_sample, CHANNELS))
        return (draws - 60).astype(np.float32)


def window(lake: Lake) -> tuple[int, int, int]:
    """Build and read a window set. Return conditioned bytes, number of windows, and peak bytes without imports."""
    before = peak_bytes()
    recordings = conditioned_recordings(lake)
    manifest = make_split_manifest(recordings, WindowSettings())
    window_set = build_window_set(lake.windows / "set", manifest, recordings)
    training = window_set.windows(Split.TRAIN)
    for start in range(0, len(training), BATCH):
        window_set.batch(training[start : start + BATCH])
    return window_set.samples_z.nbytes, len(training), peak_bytes() - before


def peak_bytes() -> int:
    """Return the peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Print the peak memory with its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        for number in range(arguments.recordings):
            key = RecordingKey("bench", f"r{number:03d}")
            path = lake.conditioned_path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = Noise(round(arguments.seconds * RATE_HZ))
            condition(noise, path, ConditioningSettings(), key=key, source_digest=f"{number:064d}")
        with get_context("spawn").Pool(1) as pool:
            conditioned, windows, peak = pool.apply(window, (lake,))
    print(f"conditioned samples  {conditioned / 2**20:8.1f} MiB in {arguments.recordings} recordings")
    print(
        f"windows gathered     {windows:8,d} of 170 samples: {windows * 170 * CHANNELS * 4 / 2**20:,.0f} MiB if copied"
    )
    print(f"peak of windowing    {peak / 2**20:8.1f} MiB: {peak / conditioned:.2f} times the samples, limit {LIMIT}")


if __name__ == "__main__":
    main()
