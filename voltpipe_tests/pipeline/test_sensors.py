"""Raw files are conditioned when they are complete, many in a run, and again when their content changes."""

import errno
import fcntl
import os
import re
import time

import dagster as dg
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline import sensors
from voltpipe.pipeline.assets import recordings as recordings_assets
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.jobs import CONDITIONED_KEY, INGEST_JOB
from voltpipe.pipeline.partitions import (
    BATCH_SIZE,
    RANGE_END_TAG,
    RANGE_START_TAG,
    RECORDINGS,
    range_tags,
    recording_keys,
)
from voltpipe.pipeline.resources import LakeResource
from voltpipe.pipeline.sensors import (
    RECORDINGS_PER_TICK,
    RUNS_PER_TICK,
    ArrivalCursor,
    WaitReason,
    plan_ingest,
    raw_recordings,
)
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw.arrivals import QUIET_S
from voltpipe.recordings.raw.recording_records import read_history, read_quarantine
from voltpipe.recordings.settings import ConditioningSettings


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def put(lake):
    """Puts a file into the raw folder, last modified `age_s` seconds ago."""

    def put(name, content="mV", age_s=60.0):
        path = lake.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        modified = time.time() - age_s
        os.utime(path, (modified, modified))
        return path

    return put


@pytest.fixture
def condition(lake):
    """Conditions a raw recording, as a run does. The files of these tests are quarantined."""

    def condition(name):
        return condition_raw(lake, RecordingKey("slice", name), ConditioningSettings())

    return condition


@pytest.fixture
def plans(monkeypatch):
    """The sensor's decisions, one for each tick."""
    made = []

    def plan(*arguments):
        made.append(plan_ingest(*arguments))
        return made[-1]

    monkeypatch.setattr(sensors, "plan_ingest", plan)
    return made


@pytest.fixture
def tick(lake, instance):
    """Ticks like the daemon: keeps the cursor, and adds new partitions before runs are launched."""
    cursor = None

    def tick():
        nonlocal cursor
        resources = {"lake": LakeResource(root=str(lake.root))}
        result = raw_recordings(dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources))
        cursor = result.cursor
        for request in result.dynamic_partitions_requests:
            instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return result

    return tick


@pytest.fixture
def waits(tick, plans):
    """Ticks without a request; returns the number of known recordings and of those that wait, by reason."""

    def waits():
        result, plan = tick(), plans[-1]
        assert not result.run_requests
        assert result.skip_reason.skip_message == plan.skip_reason
        return {"known": plan.n_known} | {reason: len(names) for reason, names in plan.waiting.items() if names}

    return waits


@pytest.fixture
def requested(instance):
    """Returns the partitions of the runs that a tick requested."""

    def requested(result):
        keys = recording_keys(instance)
        found = []
        for request in result.run_requests:
            ends = [request.partition_key] * 2
            if request.partition_key is None:
                ends = [request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]]
            start, last = map(keys.index, ends)
            found += keys[start : last + 1]
        return found

    return requested


def test_a_new_file_becomes_a_partition_and_is_requested_once(put, tick, requested, condition, instance, waits):
    put("slice/run_0.csv")
    assert requested(tick()) == ["slice--run_0"]
    assert instance.get_dynamic_partitions(RECORDINGS.name) == ["slice--run_0"]
    assert tick().run_requests == []
    condition("run_0")
    assert waits() == {"known": 1}


def test_a_changed_file_is_requested_again_under_another_run_key(put, tick, condition, waits):
    put("slice/run_0.csv")
    (first,) = tick().run_requests
    condition("run_0")
    put("slice/run_0.csv", "mV, but longer")
    (second,) = tick().run_requests
    assert first.partition_key == second.partition_key
    assert first.run_key != second.run_key
    condition("run_0")
    assert waits() == {"known": 1}


def test_a_change_of_content_is_detected_if_size_and_time_stay_the_same(put, tick, requested, condition):
    path = put("slice/run_0.csv", "mV")
    modified = path.stat().st_mtime
    condition("run_0")
    assert tick().run_requests == []
    path.write_text("uV")
    os.utime(path, (modified, modified))
    assert requested(tick()) == ["slice--run_0"]


def test_a_file_that_was_only_touched_is_read_once_and_not_requested(put, condition, lake, waits):
    path = put("slice/run_0.csv")
    condition("run_0")
    before = read_history(lake, RecordingKey("slice", "run_0"))
    os.utime(path, (1e9, 1e9))
    assert waits() == {"known": 1}
    after = read_history(lake, RecordingKey("slice", "run_0"))
    assert after.raw_state != before.raw_state
    assert after.versions == before.versions


def test_new_hints_count_as_a_change_of_the_recording(put, tick, requested, condition, waits):
    put("slice/run_0.csv")
    condition("run_0")
    put("slice/run_0.yaml", "unit: uV")
    assert requested(tick()) == ["slice--run_0"]
    condition("run_0")
    assert waits() == {"known": 1}


def test_a_growing_file_waits_until_it_is_quiet(put, tick, requested, waits):
    growing = put("slice/run_0.csv", age_s=0)
    assert waits() == {"known": 1, WaitReason.GROWING: 1}
    quiet = time.time() - QUIET_S
    os.utime(growing, (quiet, quiet))
    assert requested(tick()) == ["slice--run_0"]


def test_a_file_with_a_time_in_the_future_counts_as_quiet_once_it_stays_unchanged(put, tick, requested, waits):
    put("slice/run_0.csv", age_s=-3600)
    assert waits()[WaitReason.GROWING] == 1
    put("slice/run_0.csv", "grown", age_s=-3601)
    assert waits()[WaitReason.GROWING] == 1
    assert requested(tick()) == ["slice--run_0"]


def test_a_growing_file_does_not_delay_others(put, tick, requested):
    put("slice/run_0.csv", age_s=0)
    put("slice/run_1.csv")
    assert requested(tick()) == ["slice--run_1"]


def test_a_file_that_a_rig_has_locked_waits(put, tick, requested, waits):
    path = put("slice/a.dat")
    with path.open("r+") as rig:
        fcntl.flock(rig, fcntl.LOCK_EX)
        assert waits()[WaitReason.GROWING] == 1
    assert requested(tick()) == ["slice--a"]


def test_the_skip_reason_names_the_first_unusable_files_with_the_reason(put, waits, plans):
    put("slice/my recording.csv")
    put("slice/notes.docx")
    put("stray.csv")
    assert waits() == {"known": 0, WaitReason.UNUSABLE: 3}
    for name in ("slice/my recording.csv", "slice/notes.docx", "stray.csv"):
        assert name in plans[-1].skip_reason
    for number in range(20):
        put(f"slice/{number}.docx")
    assert waits()[WaitReason.UNUSABLE] == 23
    assert re.search(r"\b18 more", plans[-1].skip_reason)


def test_an_unusable_file_does_not_delay_others(put, tick, requested):
    put("slice/notes.docx")
    put("slice/run_0.csv")
    assert requested(tick()) == ["slice--run_0"]


def test_sidecars_and_hidden_files_are_not_recordings(put, waits):
    put("slice/run_0.yaml")
    put("slice/.run_1.csv.partial")
    assert waits() == {"known": 0}


def test_a_file_that_was_deleted_and_restored_is_not_conditioned_again(put, condition, waits):
    path = put("slice/run_0.csv")
    condition("run_0")
    path.unlink()
    assert waits() == {"known": 0}
    put("slice/run_0.csv", age_s=30)
    assert waits() == {"known": 1}


def test_many_files_share_runs_within_the_limit_of_a_tick(put, tick, requested, instance):
    names = [f"run_{number:03d}" for number in range(RECORDINGS_PER_TICK + 88)]
    for name in names:
        put(f"slice/{name}.csv")
    first, second = tick(), tick()
    assert len(first.run_requests) == RECORDINGS_PER_TICK / BATCH_SIZE
    assert len(second.run_requests) == 2
    assert requested(first) + requested(second) == [f"slice--{name}" for name in names]
    assert len({request.run_key for request in (*first.run_requests, *second.run_requests)}) == 4
    assert len(instance.get_dynamic_partitions(RECORDINGS.name)) == len(names)
    assert tick().run_requests == []


def test_scattered_changes_get_runs_of_their_own_within_the_limit_of_a_tick(put, tick, requested, instance):
    keys = [f"slice--run_{number:03d}" for number in range(100)]
    instance.add_dynamic_partitions(RECORDINGS.name, keys)
    for number in range(0, 100, 4):
        put(f"slice/run_{number:03d}.csv")
    assert requested(tick()) == keys[: 4 * RUNS_PER_TICK : 4]
    assert requested(tick()) == keys[4 * RUNS_PER_TICK : 8 * RUNS_PER_TICK : 4]


def test_recordings_in_progress_are_not_requested_again(put, instance, waits):
    keys = [f"slice--run_{number}" for number in range(4)]
    instance.add_dynamic_partitions(RECORDINGS.name, keys)
    for number in range(3):
        put(f"slice/run_{number}.csv")
    tags = {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[2]}
    instance.add_run(dg.DagsterRun(job_name=INGEST_JOB, tags=tags, status=dg.DagsterRunStatus.STARTED))
    assert waits() == {"known": 3, WaitReason.CONDITIONING: 3}


def test_recordings_without_a_verdict_are_requested_again_with_growing_delay(put, tick, requested, monkeypatch):
    put("slice/run_0.csv", age_s=1e6)
    put("slice/run_1.csv", age_s=1e6)
    now = time.time()
    ticks = {0: 2, 119: 0, 121: 2, 121 + 239: 0, 121 + 241: 2}
    for later_s, n_requested in ticks.items():
        monkeypatch.setattr(sensors.time, "time", lambda later_s=later_s: now + later_s)
        assert len(requested(result := tick())) == n_requested
    monkeypatch.setattr(sensors.time, "time", lambda: now - 1e5)  # a clock that was set back ends the delay
    assert len(requested(tick())) == 2
    assert len(result.run_requests) == 1


def test_a_cursor_in_an_unknown_format_is_ignored(put, lake, instance):
    put("slice/run_0.csv")
    resources = {"lake": LakeResource(root=str(lake.root))}
    context = dg.build_sensor_context(
        instance=instance, cursor='{"slice--run_0": "1700000000.000:2"}', resources=resources
    )
    assert len(raw_recordings(context).run_requests) == 1


def test_the_cursor_holds_no_recording_with_a_verdict(put, tick, condition):
    for number in range(3):
        put(f"slice/run_{number}.csv")
        condition(f"run_{number}")
    assert tick().cursor == '{"asked":{},"growing":{}}'


@pytest.fixture
def ingest(lake, instance):
    """Runs the job that the sensor requests, on adjacent recordings."""

    def ingest(*keys):
        instance.add_dynamic_partitions(RECORDINGS.name, sorted(map(str, keys)))
        job = build_definitions(lake).resolve_job_def(INGEST_JOB)
        return job.execute_in_process(instance=instance, tags=range_tags(sorted(map(str, keys))), raise_on_error=False)

    return ingest


@pytest.mark.slow
def test_a_failure_on_one_recording_does_not_stop_the_others_of_its_batch(
    lake, instance, ingest, put_recording, spiking_mv, monkeypatch
):
    keys = [RecordingKey("slice", f"run_{number}") for number in range(3)]
    for number, key in enumerate(keys):
        put_recording(lake, key.recording, spiking_mv(number))

    def condition_or_fail(lake, key, *settings):
        if key == keys[1]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return condition_raw(lake, key, *settings)

    monkeypatch.setattr(recordings_assets, "condition_raw", condition_or_fail)
    result = ingest(*keys)
    assert not result.success
    assert re.match(r".*\b1 of 3 ", result.failure_data_for_node("conditioned_recording").error.message, re.DOTALL)
    assert instance.get_materialized_partitions(CONDITIONED_KEY) == {"slice--run_0", "slice--run_2"}
    assert read_history(lake, keys[1]) is None  # so that the sensor requests it again
    monkeypatch.undo()
    assert ingest(keys[1]).success
    assert len(instance.get_materialized_partitions(CONDITIONED_KEY)) == 3


def test_conditioned_files_are_kept_when_the_raw_file_is_deleted_or_changed(
    lake, instance, ingest, put_recording, spiking_mv
):
    key = RecordingKey("slice", "run_0")
    path = put_recording(lake, key.recording, spiking_mv(0))
    assert ingest(key).success
    conditioned = lake.conditioned_path(key).read_bytes()

    path.unlink()
    assert ingest(key).success  # as "Materialize all" does
    assert lake.conditioned_path(key).read_bytes() == conditioned
    assert read_quarantine(lake) == {}

    path.write_bytes(b"half a copy")
    assert ingest(key).success
    assert list(read_quarantine(lake)) == [key]
    assert lake.former_path(key, 1).read_bytes() == conditioned
    event = instance.get_latest_materialization_event(CONDITIONED_KEY)
    metadata = {name: each.value for name, each in event.asset_materialization.metadata.items()}
    first, second = read_history(lake, key).versions
    assert (metadata["version"], metadata["verdict"]) == (2, "quarantined")
    assert metadata["source_digest"] == second.source.raw_digest
    assert metadata["former_source_digest"] == first.source.raw_digest


def test_no_recording_is_requested_above_the_limit_in_progress(put, lake, instance, monkeypatch):
    keys = [f"slice--run_{number}" for number in range(3)]
    instance.add_dynamic_partitions(RECORDINGS.name, keys)
    for number in range(8):
        put(f"slice/run_{number}.csv")
    tags = {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[2]}
    instance.add_run(dg.DagsterRun(job_name=INGEST_JOB, tags=tags, status=dg.DagsterRunStatus.STARTED))
    assert plan_ingest(instance, lake, ArrivalCursor(), time.time()).new == [
        f"slice--run_{number}" for number in range(3, 8)
    ]
    monkeypatch.setattr(sensors, "MAX_IN_PROGRESS", 1)
    assert plan_ingest(instance, lake, ArrivalCursor(), time.time()).batches == ()
