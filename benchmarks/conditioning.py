"""Throughput and peak memory of conditioning, and cost of the Parquet encodings.

    python benchmarks/conditioning.py [--channels 1020] [--rate-hz 20000] [--seconds 10] [--profile membrane]

A raw int16 recording is written to a temporary folder (five bytes of disk per value). Two separate processes then read
it. The first copies it in chunks, each as a row group with pyarrow's defaults. The second conditions it from raw file
to verdict, with digest, quality checks, z-score and store. Limits: half the throughput of the first, 1 GB of memory.
The two use both cores differently, and only conditioning waits until its file is on disk, so run nothing else at the
same time. CPU time is also printed.
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
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.recording_records import Verdict
from voltpipe.recordings.settings import ConditioningSettings, Profile
from voltpipe.recordings.store.conditioned_writer import CONTINUOUS, QUANTISED, ROW_GROUP_SAMPLES

KEY = RecordingKey("bench", "array")
MIN_SHARE, MAX_BYTES = 0.5, 1e9
ENCODINGS: dict[str, dict[str, Any]] = {
    "dictionary": QUANTISED,
    "dictionary, snappy (pyarrow's default)": {},
    "byte-stream-split": {**CONTINUOUS, "compression": "none", "compression_level": None},
    "byte-stream-split, zstd 1": CONTINUOUS,
    "byte-stream-split, zstd 3": {**CONTINUOUS, "compression_level": 3},
    "plain": {"compression": "none", "use_dictionary": False},
}


def make_raw(path: Path, n_channels: int, rate_hz: float, seconds: float) -> None:
    """Write white noise with an SD of 6 uV, as digitized in steps of 0.15 uV."""
    path.parent.mkdir(parents=True)
    path.with_suffix(".yaml").write_text(f"unit: uV\nrate_hz: {rate_hz}\n")
    rng = np.random.default_rng(0)
    raw = open_memmap(path, "w+", np.int16, (round(seconds * rate_hz), n_channels))  # type: ignore[no-untyped-call]
    for start in range(0, len(raw), ROW_GROUP_SAMPLES):
        piece = raw[start : start + ROW_GROUP_SAMPLES]
        piece[:] = np.rint(rng.standard_normal(piece.shape, np.float32) * 40)
    raw.flush()


class Cost(NamedTuple):
    """Time and memory of a piece of work."""

    wall_s: float
    processor_s: float
    """CPU time of all threads."""
    peak_bytes: int
    """Peak resident memory of the process."""


def timed(work: Callable[[], object]) -> float:
    """Return the duration of `work`, in s."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cost_of(work: Callable[[], object]) -> Cost:
    """Measure `work`, in a process that has done nothing else before."""
    start_s = time.process_time()
    wall_s = timed(work)
    return Cost(wall_s, time.process_time() - start_s, peak_bytes())


def peak_bytes() -> int:
    """Return the peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_own_process(work: Callable[..., Any], *arguments: object) -> Any:
    """Run `work` in a new process. On Linux it inherits the peak memory of its parent, so keep the parent small."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def copy_with_pyarrow(raw: Path, out: Path) -> Cost:
    """Copy a recording by row groups, with pyarrow's defaults."""
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
    """Condition a recording from raw file to verdict."""

    def to_verdict() -> None:
        outcome = condition_raw(lake, KEY, ConditioningSettings(profile=profile))
        assert outcome.verdict is Verdict.CONDITIONED, outcome.reason

    return cost_of(to_verdict)


def compare_encodings(raw: Path, folder: Path) -> None:
    """Write two row groups in each encoding, once of the recording and once of noise in every bit."""
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
    """Print the measurements with their limits."""
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
        copied = in_own_process(copy_with_pyarrow, raw, folder / "copy.parquet")
        (folder / "copy.parquet").unlink()
        conditioned = in_own_process(condition, lake, arguments.profile)
        print(f"raw recording   {raw_bytes / 1e6:8,.0f} MB: {arguments.channels} channels, {arguments.seconds:g} s")
        for name, cost in (("pyarrow alone", copied), ("conditioning", conditioned)):
            by_wall, by_processor = (raw_bytes / seconds / 1e6 for seconds in (cost.wall_s, cost.processor_s))
            print(
                f"{name:15s} {by_wall:8,.0f} MB/s, {by_processor:,.0f} MB per CPU second, "
                f"peak {cost.peak_bytes / 1e6:,.0f} MB"
            )
        print(
            f"throughput      {copied.wall_s / conditioned.wall_s:8.2f} of pyarrow alone, limit {MIN_SHARE} "
            f"({copied.processor_s / conditioned.processor_s:.2f} by CPU time)"
        )
        print(f"peak memory     {conditioned.peak_bytes / MAX_BYTES:8.2f} GB, limit {MAX_BYTES / 1e9:g} GB")
        print("encodings of float32 (size relative to it):")
        compare_encodings(raw, folder)


if __name__ == "__main__":
    main()
