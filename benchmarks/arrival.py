"""How long the sensor and Dagster's pages take on a lake of 10,000 recordings.

    python benchmarks/arrival.py [--recordings 10000] [--keep FOLDER]

The files are tiny, as only their number matters here. The sensor looks at them when all are new, then, every recording
having a verdict, when nothing happened, when one file changed, and when every file was touched. The webserver answers
the requests behind the pages of the partitioned asset. Last, all verdicts being taken away, the daemon itself takes the
recordings in; the runs it asks for are queued and not started, so that they do not compete with what is measured.
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
from voltpipe.recordings.raw.catalogue import Verdict
from voltpipe.recordings.raw.history import read_source, record_verdict
from voltpipe.recordings.raw.raw_folder import list_raw, raw_fingerprint

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
    """Print each figure beside its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="make the lake there and leave it, to look at its pages")
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        lake = Lake((arguments.keep or Path(scratch) / "lake").resolve())
        fill(lake, arguments.recordings)
        measure_ticks(lake)
        measure_pages(lake)
        measure_daemon(lake, arguments.recordings)


def fill(lake: Lake, n_recordings: int) -> None:
    """Files that have been quiet for a while."""
    quiet = time.time() - 60
    for number in range(n_recordings):
        path = lake.raw / f"org{number % ORGANOIDS:02d}" / f"run_{number // ORGANOIDS:05d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"recording {number}")
        os.utime(path, (quiet, quiet))


def measure_ticks(lake: Lake) -> None:
    """The sensor on files of which none, then all are judged."""
    with open_instance(lake) as instance:
        _tick(lake, instance, "all files new", n_runs=RECORDINGS_PER_TICK // BATCH_SIZE)
        found = list_raw(lake).found
        instance.add_dynamic_partitions("recordings", [str(key) for key in found])
        for key, path in found.items():
            _judge(lake, key, path)
            instance.report_runless_asset_event(
                dg.AssetMaterialization(CONDITIONED_KEY, partition=str(key), metadata={"verdict": "conditioned"})
            )
        _tick(lake, instance, "nothing happened, the first look of a process", n_runs=0)
        _tick(lake, instance, "nothing happened", n_runs=0)
        next(iter(found.values())).write_text("another content")
        os.utime(next(iter(found.values())), (1e9, 1e9))
        _tick(lake, instance, "one file changed", n_runs=1)
        for path in found.values():
            os.utime(path, (1e9, 1e9))
        _tick(lake, instance, "every file touched, the first 500 digested", n_runs=1)


def measure_pages(lake: Lake) -> None:
    """The requests that the pages of the asset make, each the second time."""
    with dagster(lake, "-m", "dagster_webserver", "-w", str(WORKSPACE), "-p", str(PORT)):
        while True:
            try:
                _ask("{ version }")
                break
            except OSError:
                time.sleep(1)
        for name, query in PAGES.items():
            answer = _ask(query)
            began = time.perf_counter()
            answer = _ask(query)
            _say(f"page: {name} ({len(answer) / 1024:,.0f} KiB)", time.perf_counter() - began, PAGE_LIMIT_S)


def measure_daemon(lake: Lake, n_recordings: int) -> None:
    """The daemon's own ticks until it has asked for everything it may ask for while nothing gets done."""
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
    asked = [tick for tick in ticks if tick.run_ids]
    print(f"{n_recordings:,} files: {len(asked)} ticks asked for {runs} runs of {known:,} recordings")
    *later, first = durations  # the newest come first
    print(f"  the daemon's first tick, which loads the code as well: {first:.1f} s")
    _say("the daemon's longest tick after that, runs queued", max(later), TICK_LIMIT_S)
    print(f"  longest cursor {max(cursors) / 1024:.0f} KiB, for what was asked for and has no verdict")


@contextmanager
def dagster(lake: Lake, *arguments: str) -> Iterator[None]:
    """One of Dagster's servers on a lake."""
    environment = {**os.environ, LAKE_VARIABLE: str(lake.root), "DAGSTER_HOME": str(lake.dagster)}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _judge(lake: Lake, key: RecordingKey, path: Path) -> None:
    conditioned = lake.conditioned_path(key)
    conditioned.parent.mkdir(parents=True, exist_ok=True)
    conditioned.touch()  # without it the recording would have to be conditioned again
    record_verdict(
        lake, key, raw_fingerprint(path), read_source(path), Verdict.CONDITIONED, digest=str(key), duration_s=10.0
    )


def _tick(lake: Lake, instance: dg.DagsterInstance, what: str, *, n_runs: int) -> None:
    context = dg.build_sensor_context(instance=instance, resources={"lake": LakeResource(root=str(lake.root))})
    began, began_cpu = time.perf_counter(), time.process_time()
    result = raw_recordings(context)
    took_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    assert isinstance(result, dg.SensorResult)
    assert len(result.run_requests or ()) == n_runs, f"{what}: asked for {result.run_requests}"
    cost = f"{len(result.run_requests or ())} runs, cursor {len(result.cursor or '')} bytes, {cpu_s:.2f} s of a core"
    _say(f"tick: {what} ({cost})", took_s, TICK_LIMIT_S)


def _ticks(instance: dg.DagsterInstance) -> list[Any]:
    (sensor,) = [state for state in instance.all_instigator_state() if state.instigator_name == "raw_recordings"] or [
        None
    ]
    if sensor is None:
        return []
    ticks = instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id)
    return [tick for tick in ticks if tick.status in (TickStatus.SUCCESS, TickStatus.SKIPPED)]


def _ask(query: str) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        content: bytes = answer.read()
    assert b'"errors"' not in content[:200], content[:1000]
    return content


def _say(what: str, seconds: float, limit_s: float) -> None:
    print(f"  {what:100} {seconds:6.2f} s, limit {limit_s:.0f} s", flush=True)


if __name__ == "__main__":
    main()
