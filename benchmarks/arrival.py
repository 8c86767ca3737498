"""Duration of sensor ticks and page requests on a lake of 10,000 recordings.

    python benchmarks/arrival.py [--recordings 10000] [--keep FOLDER]

The files are tiny, since only their number matters. The sensor is timed when all files are new, then, once every
recording has a verdict, when nothing changed, when one file changed, and when every file was touched. The webserver is
timed on the requests behind the pages of the partitioned asset. Finally all verdicts are deleted and the daemon itself
finds the recordings. The runs it requests are queued but not started, so that they do not compete with the measurement.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus

from voltpipe.cli.servers import WORKSPACE
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.dagster_home import DAGSTER_CONFIG_FILE, open_instance
from voltpipe.pipeline.jobs import CONDITIONED_KEY
from voltpipe.pipeline.partitions import BATCH_SIZE, recording_keys
from voltpipe.pipeline.resources import LakeResource
from voltpipe.pipeline.sensors import RECORDINGS_PER_TICK, raw_recordings
from voltpipe.recordings.raw.history import read_source, record_verdict
from voltpipe.recordings.raw.raw_folder import list_raw, raw_fingerprint
from voltpipe.recordings.raw.recording_records import Verdict

TICK_LIMIT_S, PAGE_LIMIT_S = 5.0, 5.0
PORT = 3977
ORGANOIDS = 20

PAGES = {
    "partitions of the asset": """{ assetNodeOrError(assetKey: {path: ["conditioned_recording"]}) { ... on AssetNode {
        partitionKeysByDimension { partitionKeys }
        assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions failedPartitions } } } } }""",
    "counts on the graph": """{ assetNodes { assetKey { path } partitionStats {
        numMaterialized numPartitions numFailed } } }""",
    "one partition": """{ assetNodeOrError(assetKey: {path: ["conditioned_recording"]}) { ... on AssetNode {
        latestMaterializationByPartition(partitions: ["org00--run_00001"]) { runId metadataEntries { label } } } } }""",
    "latest events": """{ assetOrError(assetKey: {path: ["conditioned_recording"]}) { ... on Asset {
        assetMaterializations(limit: 50) { partition timestamp } } } }""",
    "runs": """{ runsOrError(limit: 30) { ... on Runs { results { runId status tags { key value } } } } }""",
    "ticks of the sensor": """{ sensorOrError(sensorSelector: {repositoryName: "__repository__",
        repositoryLocationName: "voltpipe", sensorName: "raw_recordings"}) { ... on Sensor { sensorState {
        ticks(limit: 25) { status skipReason runIds cursor } } } } }""",
}


def main() -> None:
    """Print each time with its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="Folder in which the lake is created and kept, to inspect its pages.")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        lake = Lake((arguments.keep or Path(scratch) / "lake").resolve())
        fill(lake, arguments.recordings)
        measure_ticks(lake)
        measure_pages(lake)
        measure_daemon(lake, arguments.recordings)


def fill(lake: Lake, n_recordings: int) -> None:
    """Write files that have been unchanged for a minute."""
    quiet = time.time() - 60
    for number in range(n_recordings):
        path = lake.raw / f"org{number % ORGANOIDS:02d}" / f"run_{number // ORGANOIDS:05d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"recording {number}")
        os.utime(path, (quiet, quiet))


def measure_ticks(lake: Lake) -> None:
    """Time the sensor on files without verdicts, then on files with verdicts."""
    with open_instance(lake) as instance:
        _tick(lake, instance, "all files new", n_runs=RECORDINGS_PER_TICK // BATCH_SIZE)
        found = list_raw(lake).found
        instance.add_dynamic_partitions("recordings", [str(key) for key in found])
        for key, path in found.items():
            _accept(lake, key, path)
            instance.report_runless_asset_event(
                dg.AssetMaterialization(CONDITIONED_KEY, partition=str(key), metadata={"verdict": "conditioned"})
            )
        _tick(lake, instance, "nothing changed, first tick of a process", n_runs=0)
        _tick(lake, instance, "nothing changed", n_runs=0)
        next(iter(found.values())).write_text("another content")
        os.utime(next(iter(found.values())), (1e9, 1e9))
        _tick(lake, instance, "one file changed", n_runs=1)
        for path in found.values():
            os.utime(path, (1e9, 1e9))
        _tick(lake, instance, "every file touched, first 500 digested", n_runs=1)


def measure_pages(lake: Lake) -> None:
    """Time the requests of the asset's pages, each the second time it is made."""
    with dagster(lake, "-m", "dagster_webserver", "-w", str(WORKSPACE), "-p", str(PORT)):
        while True:
            try:
                _query("{ version }")
                break
            except OSError:
                time.sleep(1)
        for name, query in PAGES.items():
            answer = _query(query)
            began = time.perf_counter()
            answer = _query(query)
            _print_time(f"page: {name} ({len(answer) / 1024:,.0f} KiB)", time.perf_counter() - began, PAGE_LIMIT_S)


def measure_daemon(lake: Lake, n_recordings: int) -> None:
    """Time the daemon's ticks until it has requested as many runs as may be queued."""
    shutil.rmtree(lake.history)
    config = lake.dagster / DAGSTER_CONFIG_FILE
    config.write_text(config.read_text().replace("max_concurrent_runs: 4", "max_concurrent_runs: 0"))
    with open_instance(lake) as instance, dagster(lake, "-m", "dagster._daemon", "run", "-w", str(WORKSPACE)):
        while len(ticks := _ticks(instance)) < 4:
            time.sleep(2)
        runs = instance.get_runs_count()
        known = len(recording_keys(instance))
    durations = [tick.end_timestamp - tick.timestamp for tick in ticks]
    cursors = [len(tick.cursor or "") for tick in ticks]
    requesting = [tick for tick in ticks if tick.run_ids]
    print(f"{n_recordings:,} files: {len(requesting)} ticks requested {runs} runs of {known:,} recordings")
    *later, first = durations  # the newest come first
    print(f"  the daemon's first tick, which includes loading the code: {first:.1f} s")
    _print_time("the daemon's longest later tick, runs queued", max(later), TICK_LIMIT_S)
    print(f"  longest cursor {max(cursors) / 1024:.0f} KiB, for requested recordings without a verdict")


@contextmanager
def dagster(lake: Lake, *arguments: str) -> Iterator[None]:
    """Run one of Dagster's servers on a lake."""
    environment = {**os.environ, LAKE_VARIABLE: str(lake.root), "DAGSTER_HOME": str(lake.dagster)}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _accept(lake: Lake, key: RecordingKey, path: Path) -> None:
    conditioned = lake.conditioned_path(key)
    conditioned.parent.mkdir(parents=True, exist_ok=True)
    conditioned.touch()  # without this file the recording would be conditioned again
    record_verdict(
        lake, key, raw_fingerprint(path), read_source(path), Verdict.CONDITIONED, digest=str(key), duration_s=10.0
    )


def _tick(lake: Lake, instance: dg.DagsterInstance, what: str, *, n_runs: int) -> None:
    context = dg.build_sensor_context(instance=instance, resources={"lake": LakeResource(root=str(lake.root))})
    began, began_cpu = time.perf_counter(), time.process_time()
    result = raw_recordings(context)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    assert isinstance(result, dg.SensorResult)
    assert len(result.run_requests or ()) == n_runs, f"{what}: requested {result.run_requests}"
    cost = f"{len(result.run_requests or ())} runs, cursor {len(result.cursor or '')} bytes, {cpu_s:.2f} s of a core"
    _print_time(f"tick: {what} ({cost})", took_s, TICK_LIMIT_S)


def _ticks(instance: dg.DagsterInstance) -> list[Any]:
    (sensor,) = [state for state in instance.all_instigator_state() if state.instigator_name == "raw_recordings"] or [
        None
    ]
    if sensor is None:
        return []
    ticks = instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id)
    return [tick for tick in ticks if tick.status in (TickStatus.SUCCESS, TickStatus.SKIPPED)]


def _query(query: str) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        content: bytes = answer.read()
    assert b'"errors"' not in content[:200], content[:1000]
    return content


def _print_time(what: str, seconds: float, limit_s: float) -> None:
    print(f"  {what:100} {seconds:6.2f} s, limit {limit_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
