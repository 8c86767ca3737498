"""Throughput and peak memory of conditioning, and what the Parquet encodings cost.

    python benchmarks/conditioning.py [--channels 1020] [--rate-hz 20000] [--seconds 10] [--profile membrane]

A raw int16 recording is made in a temporary folder (five bytes of disk a value). Two processes of their own then go
through it: one reads it in chunks and writes each as a row group with pyarrow's defaults, the other takes it from raw
file to verdict, with digest, quality checks, z-score and store. Limits: half the throughput of the former, 1 GB of
memory. The two use both cores differently, and only conditioning waits until its file is on the disk, so let nothing
else run beside them; the time of processors is told besides.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.format import open_memmap

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw.catalogue import Verdict
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.settings import ConditioningSettings, Profile
from voltpipe.recordings.store.conditioned_writer import CONTINUOUS, QUANTISED, ROW_GROUP_SAMPLES

KEY = RecordingKey("bench", "array")
LEAST_SHARE, MOST_BYTES = 0.5, 1e9
ENCODINGS: dict[str, dict[str, Any]] = {
    "dictionary": QUANTISED,
    "dictionary, snappy (pyarrow's default)": {},
    "byte-stream-split": {**CONTINUOUS, "compression": "none", "compression_level": None},
    "byte-stream-split, zstd 1": CONTINUOUS,
    "byte-stream-split, zstd 3": {**CONTINUOUS, "compression_level": 3},
    "plain": {"compression": "none", "use_dictionary": False},
}


def make_raw(path: Path, n_channels: int, rate_hz: float, seconds: float) -> None:
    """White noise of 6 uV, as a converter of 0.15 uV a step would give it, on offsets of its own a channel."""
    path.parent.mkdir(parents=True)
    path.with_suffix(".yaml").write_text(f"unit: uV\nrate_hz: {rate_hz}\n")
    rng = np.random.default_rng(0)
    raw = open_memmap(path, "w+", np.int16, (round(seconds * rate_hz), n_channels))  # type: ignore[no-untyped-call]
    for start in range(0, len(raw), ROW_GROUP_SAMPLES):
        piece = raw[start : start + ROW_GROUP_SAMPLES]
        piece[:] = np.rint(rng.standard_normal(piece.shape, np.float32) * 40)
    raw.flush()


class Cost(NamedTuple):
    """What some work took."""

    wall_s: float
    processor_s: float
    """Of all threads together."""
    peak_bytes: int
    """The most memory that the process ever had resident."""


def timed(work: Callable[[], object]) -> float:
    """How long it took, in s."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cost_of(work: Callable[[], object]) -> Cost:
    """What it took, in a process that did nothing else before."""
    start_s = time.process_time()
    wall_s = timed(work)
    return Cost(wall_s, time.process_time() - start_s, peak_bytes())


def peak_bytes() -> int:
    """The most memory that this process ever had resident."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_own_process(work: Callable[..., Any], *arguments: object) -> Any:
    """What it returns. On Linux a process begins with the peak of the one that starts it: keep that one small."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def copy_with_pyarrow(raw: Path, out: Path) -> Cost:
    """Read and write row group by row group, with pyarrow's defaults."""
    recording = open_recording(raw)
    schema = pa.schema([(name, pa.float32()) for name in recording.channel_names])

    def copy() -> None:
        with pq.ParquetWriter(out, schema) as writer:
            for start in range(0, recording.n_samples, ROW_GROUP_SAMPLES):
                stop = min(start + ROW_GROUP_SAMPLES, recording.n_samples)
                by_channel = np.ascontiguousarray(recording.read_mv(start, stop).T)
                writer.write_table(pa.table([pa.array(samples) for samples in by_channel], schema=schema))

    return cost_of(copy)


def condition(lake: Lake, profile: Profile) -> Cost:
    """From raw file to verdict."""

    def to_verdict() -> None:
        outcome = condition_raw(lake, KEY, ConditioningSettings(profile=profile))
        assert outcome.verdict is Verdict.CONDITIONED, outcome.reason

    return cost_of(to_verdict)


def compare_encodings(raw: Path, folder: Path) -> None:
    """Two row groups of the recording as it is, and with noise in every bit, in each encoding."""
    recording = open_recording(raw)
    quantised = recording.read_mv(0, min(2 * ROW_GROUP_SAMPLES, recording.n_samples)).T.copy()
    noise = np.random.default_rng(0).standard_normal(quantised.shape, np.float32)
    for kind, by_channel in (("quantised", quantised), ("continuous", noise)):
        table = pa.table([pa.array(samples) for samples in by_channel], names=list(recording.channel_names))
        for name, encoding in ENCODINGS.items():
            path = folder / "encoding.parquet"
            write_s = timed(lambda: pq.write_table(table, path, row_group_size=ROW_GROUP_SAMPLES, **encoding))  # noqa: B023
            read_s = timed(lambda: pq.read_table(path))  # noqa: B023
            megabytes = by_channel.nbytes / 1e6
            print(
                f"  {kind:10s} {name:40s} size {path.stat().st_size / by_channel.nbytes:5.2f}, "
                f"write {megabytes / write_s:6.0f} MB/s, read {megabytes / read_s:6.0f} MB/s"
            )


def main() -> None:
    """Print the figures beside their limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=1020)
    parser.add_argument("--rate-hz", type=float, default=20_000.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--profile", type=Profile, choices=list(Profile), default=Profile.MEMBRANE)
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        lake = Lake(folder / "lake")
        raw = lake.raw / KEY.organoid / f"{KEY.recording}.npy"
        in_own_process(make_raw, raw, arguments.channels, arguments.rate_hz, arguments.seconds)
        raw_bytes = raw.stat().st_size
        alone = in_own_process(copy_with_pyarrow, raw, folder / "copy.parquet")
        (folder / "copy.parquet").unlink()
        whole = in_own_process(condition, lake, arguments.profile)
        print(f"raw recording   {raw_bytes / 1e6:8,.0f} MB: {arguments.channels} channels, {arguments.seconds:g} s")
        for name, cost in (("pyarrow alone", alone), ("conditioning", whole)):
            by_wall, by_processor = (raw_bytes / seconds / 1e6 for seconds in (cost.wall_s, cost.processor_s))
            print(
                f"{name:15s} {by_wall:8,.0f} MB/s, {by_processor:,.0f} MB a second of a processor, "
                f"peak {cost.peak_bytes / 1e6:,.0f} MB"
            )
        print(
            f"throughput      {alone.wall_s / whole.wall_s:8.2f} of pyarrow alone, limit {LEAST_SHARE} "
            f"({alone.processor_s / whole.processor_s:.2f} by the time of processors)"
        )
        print(f"peak memory     {whole.peak_bytes / MOST_BYTES:8.2f} GB, limit {MOST_BYTES / 1e9:g} GB")
        print("encodings of float32 (size as a share of it):")
        compare_encodings(raw, folder)


if __name__ == "__main__":
    main()
