"""What is noted of a recording when it is judged, and found again without reading a sample."""

import json
import os
from datetime import UTC, datetime

import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.quality.quality_report import Severity
from voltpipe.recordings.raw.ingest import ingest
from voltpipe.recordings.raw.recording_records import RecordingStatus, catalogue, read_quarantine
from voltpipe.recordings.settings import ConditioningSettings

KEY = RecordingKey("org", "run")


@pytest.fixture
def judged(lake):
    """Conditions the recording and gives its entry."""

    def judge():
        condition_raw(lake, KEY, ConditioningSettings())
        (entry,) = catalogue(lake)
        return entry

    return judge


def test_a_good_recording_is_listed_with_its_figures(put_raw, signal_mv, judged):
    put_raw("run.nwb", signal_mv)
    entry = judged()
    assert (entry.key, entry.standing, entry.reason, entry.doubts) == (KEY, RecordingStatus.OK, "", ())
    assert (entry.seen.format, entry.seen.n_channels, entry.seen.rate_hz, entry.seen.duration_s) == ("NWB", 3, 1000, 5)
    assert entry.figure("duration", "kept_s") == 4.2
    assert entry.figure("noise", "median_noise_mv") == pytest.approx(4, rel=0.05)
    assert entry.figure("noise", "unheard of") is None


def test_a_doubted_recording_says_which_check_failed(put_raw, signal_mv, judged):
    signal_mv[:, 1] += 5 * np.sin(2 * np.pi * 50 * np.arange(5000) / 1000)
    put_raw("run.nwb", signal_mv)
    entry = judged()
    assert entry.standing is RecordingStatus.WARN
    assert [doubt.name for doubt in entry.doubts] == ["hum"]


def test_a_quarantined_recording_is_listed_with_what_could_be_seen_of_it(lake, put_raw, signal_mv, judged):
    path = put_raw("run.nwb", signal_mv)
    judged()
    signal_mv[7, 1] = np.nan
    path.unlink()
    put_raw("run.nwb", signal_mv)
    entry = judged()
    assert (entry.standing, entry.seen.n_channels) == (RecordingStatus.QUARANTINED, 3)
    assert [doubt.name for doubt in entry.doubts if doubt.severity is Severity.ERROR] == ["finite"]
    assert "1 samples" in entry.reason
    path.write_bytes(b"")
    assert judged().seen is None
    assert list(lake.conditioned.rglob("*.json")) == []


def test_a_recording_whose_file_in_quarantine_was_removed_is_listed_again_only_when_it_is_judged_again(
    lake, put_raw, signal_mv, judged
):
    signal_mv[7, 1] = np.nan
    put_raw("run.nwb", signal_mv)
    reason = judged().reason
    assert json.loads(lake.quarantine_path(KEY).read_text())["reason"] == reason
    lake.quarantine_path(KEY).unlink()
    assert (catalogue(lake), read_quarantine(lake)) == ((), {})
    assert judged().standing is RecordingStatus.QUARANTINED


def test_no_sample_is_read_and_what_was_not_noted_or_is_damaged_is_said_to_be_unknown(lake, put_raw, signal_mv, judged):
    put_raw("run.nwb", signal_mv)
    before = judged()
    lake.conditioned_path(KEY).write_bytes(b"")
    assert catalogue(lake) == (before,)
    lake.history_path(KEY).write_text("{")
    (entry,) = catalogue(lake)
    assert (entry.standing, entry.seen, entry.report) == (RecordingStatus.OK, None, None)


def test_a_file_that_says_when_it_was_recorded_is_believed(put_raw, signal_mv, judged):
    put_raw("run.nwb", signal_mv)
    seen = judged().seen
    assert (seen.recorded_at, seen.is_stated) == (datetime(2024, 1, 1, tzinfo=UTC), True)


def test_one_that_does_not_say_it_is_dated_by_its_last_change_which_ingesting_keeps(
    lake, put_raw, signal_mv, judged, tmp_path
):
    file = put_raw("run.npz", signal_mv).rename(tmp_path / "run.npz")
    changed = datetime(2025, 5, 4, 3, 2, 1, tzinfo=UTC)
    os.utime(file, (changed.timestamp(), changed.timestamp()))
    ingest(lake, file, "org", Hints())
    seen = judged().seen
    assert (seen.recorded_at, seen.is_stated) == (changed, False)
