"""A raw file is conditioned once it is there whole, and again if it changes; MLflow's runs are closed."""

import fcntl
import json
import os
import time

import dagster as dg
import pytest

from voltpipe.lake import Lake, RecordingKey
from voltpipe.pipeline.partitions import RECORDINGS
from voltpipe.pipeline.resources import LakeResource
from voltpipe.pipeline.sensors import QUIET_S, raw_recordings


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def put(lake):
    """Puts a file into the raw folder that last changed so many seconds ago."""

    def put(name, content="mV", age_s=60.0):
        path = lake.raw / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        changed = time.time() - age_s
        os.utime(path, (changed, changed))
        return path

    return put


@pytest.fixture
def tick(lake, instance):
    """Ticks as the daemon does: the cursor is kept, and new partitions are added before the runs are launched."""
    cursor = None

    def tick():
        nonlocal cursor
        resources = {"lake": LakeResource(root=str(lake.root))}
        result = raw_recordings(dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources))
        if isinstance(result, dg.SensorResult):
            cursor = result.cursor
            for request in result.dynamic_partitions_requests:
                instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return result

    return tick


def requested(result):
    assert isinstance(result, dg.SensorResult), result
    return [request.partition_key for request in result.run_requests]


def skipped(result):
    assert isinstance(result, dg.SkipReason), result
    return result.skip_message


def test_a_new_file_becomes_a_partition_and_is_asked_for_once(put, tick, instance):
    put("slice/run_0.csv")
    assert requested(tick()) == ["slice--run_0"]
    assert instance.get_dynamic_partitions(RECORDINGS.name) == ["slice--run_0"]
    assert skipped(tick()) == "no new raw file; 1 known"


def test_a_changed_file_is_asked_for_again_under_another_run_key(put, tick):
    put("slice/run_0.csv")
    (first,) = tick().run_requests
    put("slice/run_0.csv", "mV, but longer")
    (second,) = tick().run_requests
    assert first.partition_key == second.partition_key
    assert first.run_key != second.run_key
    assert skipped(tick()) == "no new raw file; 1 known"


def test_a_hint_that_mends_a_recording_is_a_change_of_it(put, tick):
    put("slice/run_0.csv")
    tick()
    put("slice/run_0.yaml", "unit: uV")
    assert requested(tick()) == ["slice--run_0"]
    assert skipped(tick()) == "no new raw file; 1 known"


def test_a_file_that_still_grows_is_left_until_it_is_quiet(put, tick):
    growing = put("slice/run_0.csv", age_s=0)
    assert skipped(tick()) == "no new raw file; 1 known, 1 still growing"
    quiet = time.time() - QUIET_S
    os.utime(growing, (quiet, quiet))
    assert requested(tick()) == ["slice--run_0"]


def test_a_growing_file_holds_up_no_other(put, tick):
    put("slice/run_0.csv", age_s=0)
    put("slice/run_1.csv")
    assert requested(tick()) == ["slice--run_1"]
    os.utime(put("slice/run_0.csv"))
    assert "1 still growing" in skipped(tick())


def test_what_cannot_be_used_is_named_in_the_skip_message(put, tick):
    put("slice/my recording.csv")
    put("slice/notes.docx")
    put("stray.csv")
    message = skipped(tick())
    assert message.startswith("no new raw file; 0 known, 3 not usable")
    for name in ("slice/my recording.csv", "slice/notes.docx", "stray.csv"):
        assert name in message


def test_what_cannot_be_used_holds_up_no_other(put, tick):
    put("slice/notes.docx")
    put("slice/run_0.csv")
    assert requested(tick()) == ["slice--run_0"]


def test_sidecars_and_hidden_files_are_no_recordings(put, tick):
    put("slice/run_0.yaml")
    put("slice/.run_1.csv.partial")
    assert skipped(tick()) == "no new raw file; 0 known"


def test_a_file_that_went_away_and_came_back_is_conditioned_again(put, tick):
    path = put("slice/run_0.csv")
    tick()
    path.unlink()
    assert skipped(tick()) == "no new raw file; 0 known"
    put("slice/run_0.csv", age_s=30)
    assert requested(tick()) == ["slice--run_0"]


def test_three_hundred_files_are_taken_in_one_tick(put, tick, instance):
    for number in range(300):
        put(f"slice/run_{number:03d}.csv")
    result = tick()
    assert requested(result) == [f"slice--run_{number:03d}" for number in range(300)]
    assert len({request.run_key for request in result.run_requests}) == 300
    assert len(instance.get_dynamic_partitions(RECORDINGS.name)) == 300
    assert json.loads(result.cursor).keys() == set(requested(result))


def test_a_file_that_a_rig_holds_open_waits_however_quiet_it_is(put, tick):
    path = put("slice/a.dat")
    with path.open("r+") as rig:
        fcntl.flock(rig, fcntl.LOCK_EX)
        assert "1 still growing" in skipped(tick())
    assert requested(tick()) == ["slice--a"]


def test_what_a_command_has_conditioned_is_not_conditioned_again(lake, instance, put, tick):
    put("org/judged.npy")
    put("org/unjudged.npy")
    instance.add_dynamic_partitions(RECORDINGS.name, ["org--judged"])
    instance.report_runless_asset_event(dg.AssetMaterialization("conditioned_recording", partition="org--judged"))
    verdict = lake.quarantine_path(RecordingKey("org", "judged"))
    verdict.parent.mkdir(parents=True)
    verdict.write_text("{}")
    assert [request.partition_key for request in tick().run_requests] == ["org--unjudged"]
    put("org/judged.npy", content="another")
    assert [request.partition_key for request in tick().run_requests] == ["org--judged"]
