"""Each content that lay under a recording's name is a version, noted with its verdict; what was made of it is kept."""

import os

import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw.arrivals import find_arrivals
from voltpipe.recordings.raw.recording_records import Verdict, read_history
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.store.conditioned_recording import open_conditioned

KEY = RecordingKey("slice", "run_0")


@pytest.fixture
def history(lake):
    """Judges what lies there, and reads the recording's history."""

    def history(**settings):
        condition_raw(lake, KEY, ConditioningSettings(**settings))
        return read_history(lake, KEY)

    return history


def test_versions_follow_the_content_not_the_settings(lake, history, put_recording, spiking_mv):
    path = put_recording(lake, "run_0", spiking_mv(0))
    first = history().present
    assert (first.version, first.verdict, first.duration_s) == (1, Verdict.CONDITIONED, 5.2)
    assert first.digest == open_conditioned(lake.conditioned_path(KEY)).digest
    conditioned_otherwise = history(trim_ms=1000)
    assert conditioned_otherwise.former is None
    assert conditioned_otherwise.present.digest != first.digest

    path.with_suffix(".yaml").write_text("condition: drug\n")
    with_hints = history()
    assert (with_hints.present.version, with_hints.former.version) == (2, 1)
    assert with_hints.present.source.raw_digest == with_hints.former.source.raw_digest

    former_digest = open_conditioned(lake.conditioned_path(KEY)).digest
    put_recording(lake, "run_0", spiking_mv(1))
    changed = history()
    assert [each.version for each in changed.versions] == [1, 2, 3]
    assert changed.present.source.raw_digest != changed.former.source.raw_digest
    assert open_conditioned(lake.former_path(KEY, 2)).digest == former_digest == changed.former.digest


def test_touched_files_are_digested_so_much_at_a_time(lake, monkeypatch):
    keys = [RecordingKey("slice", name) for name in ("a", "b", "huge")]
    for key, content in zip(keys, ("mV", "mV", "millivolt"), strict=True):
        path = lake.raw / key.organoid / f"{key.recording}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        condition_raw(lake, key, ConditioningSettings())
        os.utime(path, (1e9, 1e9))
    first, second = (find_arrivals(lake, digested_bytes=3) for _ in range(2))
    assert (first.touched, second.touched) == ([keys[1]], [])
    assert list(first.ready) == list(second.ready) == [keys[2]]  # conditioning finds out
    monkeypatch.setattr("voltpipe.recordings.raw.arrivals.DIGESTED_FILES", 1)
    for key in keys[:2]:
        os.utime(lake.raw / "slice" / f"{key.recording}.csv", (1e9, 1e9))
    assert find_arrivals(lake).touched == [keys[1], keys[2]]
