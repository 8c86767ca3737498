"""What version 0.1.0 kept of a recording in up to three files becomes its record when a lake is first opened."""

import json
import subprocess
import sys

import pytest

from voltpipe.lake.files import read_json
from voltpipe.lake.keys import LakeError, RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw import recording_records as catalogue_module
from voltpipe.recordings.raw.arrivals import find_arrivals
from voltpipe.recordings.raw.recording_records import (
    RecordingStatus,
    Verdict,
    catalogue,
    read_history,
    read_quarantine,
    read_record,
)
from voltpipe.recordings.settings import ConditioningSettings

RUNS = [RecordingKey("slice", f"run_{name}") for name in (0, 1, 2, 3, "broken")]
BROKEN = RUNS[-1]
LIST = """
import sys
from pathlib import Path
from voltpipe.lake.paths import Lake
from voltpipe.recordings.raw.recording_records import catalogue
print("ready", flush=True)
sys.stdin.readline()
print([record.model_dump_json() for record in catalogue(Lake(Path(sys.argv[1])))])
"""


@pytest.fixture
def old_lake(tmp_path, unpack_old_lake):
    return unpack_old_lake(tmp_path)


def json_files(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.glob("[!.]*/*.json")}


def test_a_record_holds_what_lay_in_three_files(old_lake):
    findings = read_json(old_lake.conditioned / "slice" / "run_1.json")
    versions = read_json(old_lake.history / "slice" / "run_1.json")["versions"]
    record = read_record(old_lake, RUNS[1]).model_dump(mode="json")
    assert {name: record[name] for name in findings} == findings
    assert record["history"]["versions"] == versions
    assert (record["format_version"], record["verdict"], record["reason"]) == (1, "conditioned", "")
    assert record["source_digest"] == versions[-1]["source"]["raw_digest"]
    assert not (old_lake.conditioned / "slice" / "run_1.json").exists()
    assert read_json(old_lake.history_path(RUNS[1])) == record


def test_the_files_in_quarantine_stay_for_people(old_lake):
    before = read_json(old_lake.quarantine_path(BROKEN))
    record = read_quarantine(old_lake)[BROKEN]
    assert (record.standing, record.reason) == (RecordingStatus.QUARANTINED, before["reason"])
    assert read_json(old_lake.quarantine_path(BROKEN)) == before
    assert before["reason"].startswith("finite: ")


def test_a_second_opening_changes_nothing(old_lake):
    first = catalogue(old_lake)
    assert [record.key for record in first] == RUNS
    records = json_files(old_lake.history)
    assert json_files(old_lake.conditioned) == {}
    assert catalogue(old_lake) == first
    assert json_files(old_lake.history) == records


def test_the_sensor_migrates_what_it_looks_at_and_asks_for_nothing(old_lake):
    before = read_json(old_lake.history_path(BROKEN))
    assert find_arrivals(old_lake).ready == {}
    assert read_history(old_lake, BROKEN).versions[0].model_dump(mode="json") == before["versions"][0]
    assert read_json(old_lake.history_path(BROKEN))["format_version"] == 1


@pytest.mark.parametrize("n_written", range(5))
def test_a_migration_that_is_killed_is_completed_by_the_next(
    old_lake, tmp_path, unpack_old_lake, monkeypatch, n_written
):
    written = []

    def killed(path, content):
        if len(written) == n_written:
            raise KeyboardInterrupt
        written.append(path)
        write_json(path, content)

    write_json = catalogue_module.write_json
    monkeypatch.setattr(catalogue_module, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        catalogue(old_lake)
    monkeypatch.undo()
    assert catalogue(old_lake) == catalogue(unpack_old_lake(tmp_path / "unharmed"))


def test_findings_that_were_left_behind_are_removed_and_not_believed(old_lake):
    path = old_lake.conditioned / "slice" / "run_0.json"
    former = path.read_text()
    whole = catalogue(old_lake)
    path.write_text(former.replace('"n_channels": 3', '"n_channels": 99'))
    assert catalogue(old_lake) == whole
    assert not path.exists()


@pytest.mark.slow
def test_processes_that_open_a_lake_at_once_read_the_same(old_lake, tmp_path, unpack_old_lake):
    command = [sys.executable, "-c", LIST, str(old_lake.root)]
    opened = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in opened:
        assert process.stdout.readline() == "ready\n"
    for process in opened:
        process.stdin.write("\n")
        process.stdin.flush()
    read = {process.communicate()[0] for process in opened}
    alone = catalogue(unpack_old_lake(tmp_path / "alone"))
    assert read == {f"{[record.model_dump_json() for record in alone]}\n"}
    assert catalogue(old_lake) == alone


def test_a_lake_that_cannot_be_written_to_is_read_as_it_is(old_lake, tmp_path, unpack_old_lake):
    (old_lake.history / ".lock").mkdir()  # also root cannot open it
    before = json_files(old_lake.root)
    assert catalogue(old_lake) == catalogue(unpack_old_lake(tmp_path / "writable"))
    assert json_files(old_lake.root) == before


def test_a_file_that_could_never_be_read_has_a_record_without_versions(old_lake):
    old_lake.history_path(BROKEN).unlink()
    view = read_json(old_lake.quarantine_path(BROKEN)) | {"report": None, "seen": None, "source_digest": None}
    old_lake.quarantine_path(BROKEN).write_text(json.dumps(view))
    record = read_record(old_lake, BROKEN)
    assert (record.verdict, record.reason, record.history) == (Verdict.QUARANTINED, view["reason"], None)
    assert list(find_arrivals(old_lake).ready) == [BROKEN]


def test_files_of_0_1_0_that_are_damaged_or_strange_hold_up_no_other(old_lake):
    old_lake.history_path(BROKEN).write_text('{"raw_state": "", "versions": []}')
    (old_lake.conditioned / "slice" / "run_0.json").write_text('{"seen": 1, "report": 2}')
    strange = [old_lake.conditioned / "slice" / "my notes.json", old_lake.conditioned / "slice" / "run_2.notes.json"]
    for path in strange:
        path.write_text('{"seen": "a lot"}')
    records = {record.key: record for record in catalogue(old_lake)}
    assert list(records) == RUNS
    assert (records[BROKEN].standing, records[BROKEN].history) == (RecordingStatus.QUARANTINED, None)
    assert (records[RUNS[0]].report, len(records[RUNS[0]].history.versions)) == (None, 1)
    assert [path.read_text() for path in strange] == ['{"seen": "a lot"}'] * 2


def test_a_judgement_of_an_old_recording_adds_to_its_versions(old_lake):
    condition_raw(old_lake, RUNS[1], ConditioningSettings(trim_ms=900))
    record = read_record(old_lake, RUNS[1])
    assert [each.version for each in record.history.versions] == [1, 2]
    assert record.figure("duration", "kept_s") == pytest.approx(3.5)
    assert not (old_lake.conditioned / "slice" / "run_1.json").exists()


def test_a_record_of_a_later_version_is_refused_and_left_alone(old_lake):
    record = read_record(old_lake, RUNS[0]).model_dump(mode="json") | {"format_version": 2}
    path = old_lake.history_path(RUNS[0])
    path.write_text(json.dumps(record))
    for read in (catalogue, find_arrivals, lambda lake: condition_raw(lake, RUNS[0], ConditioningSettings())):
        with pytest.raises(LakeError, match=r"run_0\.json") as refused:
            read(old_lake)
        assert refused.value.code == "record-version-unknown"
    assert read_json(path) == record
