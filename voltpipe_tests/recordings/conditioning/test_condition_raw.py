"""From a raw file to its verdict: a bad one is named with its reason, and leaves nothing half-written."""

import errno
import re

import numpy as np
import pytest

from voltpipe.lake.keys import LakeError, RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw.open_recording import RawRecording
from voltpipe.recordings.raw.recording_records import Verdict, read_quarantine
from voltpipe.recordings.settings import ConditioningSettings, Profile
from voltpipe.recordings.store.conditioned_recording import conditioned_recordings, open_conditioned

KEY = RecordingKey("org", "run")


@pytest.fixture
def judge(lake):
    return lambda key=KEY: condition_raw(lake, key, ConditioningSettings())


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def empty(path, signal_mv):
    path.write_bytes(b"")


def truncated(path, signal_mv):
    path.write_bytes(path.read_bytes()[:-20])


def wrong_unit(path, signal_mv):
    path.with_suffix(".yaml").write_text("unit: uV\n")


def unknown_unit(path, signal_mv):
    path.with_suffix(".yaml").write_text("unit: furlong\n")


def not_finite(path, signal_mv):
    signal_mv[17, 1] = np.nan
    save(path, signal_mv)


def flat(path, signal_mv):
    signal_mv[:, 2] = -70
    save(path, signal_mv)


def too_short(path, signal_mv):
    save(path, signal_mv[:3000])


def ragged(path, signal_mv):
    lines = path.read_text().splitlines(keepends=True)
    lines[41] = "41 -70\n"
    path.write_text("".join(lines))


def save(path, signal_mv):
    np.savetxt(path, np.column_stack([np.arange(len(signal_mv)), signal_mv]), fmt="%.9g")


BAD = {
    empty: ("file-empty", r"run\.dat"),
    truncated: ("file-cut-off", "line 5000 "),
    wrong_unit: ("unit_range", "`unit: mV`"),
    unknown_unit: ("unit-unknown", "'furlong'"),
    not_finite: ("finite", r"\b1 samples .* 0\.017 s, .*neuron_1"),
    flat: ("flat", "neuron_2"),
    too_short: ("duration", r"\b3 s\b.*3\.8 s"),
    ragged: ("column-count-mismatch", "line 42 .*2 columns.* 4"),
}


@pytest.mark.parametrize(("spoil", "cause", "named"), [(spoil, *why) for spoil, why in BAD.items()])
def test_a_bad_recording_is_quarantined_with_its_reason(lake, put_raw, signal_mv, judge, causes, spoil, cause, named):
    path = put_raw("run.dat", signal_mv)
    assert judge().verdict is Verdict.CONDITIONED
    spoil(path, signal_mv.copy())
    raw = path.read_bytes()
    outcome = judge()
    assert causes(outcome) == {cause}
    assert outcome.path is None
    entry = read_quarantine(lake)[KEY]
    assert entry.reason == outcome.reason
    assert re.search(named, entry.reason)
    assert files_in(lake.conditioned) == []
    assert files_in(lake.quarantine) == ["run.json"]
    assert path.read_bytes() == raw


def test_a_good_recording_is_conditioned_with_its_figures(lake, put_raw, signal_mv, judge):
    put_raw("run.nwb", signal_mv)
    outcome = judge()
    assert (outcome.verdict, outcome.reason) == (Verdict.CONDITIONED, "")
    assert outcome.path == lake.conditioned_path(KEY)
    recording = open_conditioned(outcome.path)
    np.testing.assert_allclose(recording.read_mv(0, 4200), signal_mv[800:], atol=1e-5)
    assert outcome.figures["samples"] == 4200
    assert outcome.figures["digest"] == recording.digest
    assert outcome.report is not None
    assert [check.name for check in outcome.report.checks][-1] == "duplicate"
    assert files_in(lake.root) == ["run.json", "run.nwb", "run.parquet"]


def test_a_recording_that_was_mended_is_released(lake, put_raw, signal_mv, judge):
    path = put_raw("run.dat", signal_mv)
    wrong_unit(path, signal_mv)
    assert judge().verdict is Verdict.QUARANTINED
    path.with_suffix(".yaml").unlink()
    assert judge().verdict is Verdict.CONDITIONED
    assert read_quarantine(lake) == {}


def test_a_duplicate_is_told_by_its_samples_and_named(lake, put_raw, signal_mv, judge, causes):
    put_raw("run.dat", signal_mv)
    put_raw("copy.npz", signal_mv, organoid="other")
    judge()
    outcome = judge(RecordingKey("other", "copy"))
    assert causes(outcome) == {"duplicate"}
    assert "org--run" in outcome.reason
    assert judge().verdict is Verdict.CONDITIONED
    assert list(conditioned_recordings(lake)) == ["org--run"]


def test_a_damaged_conditioned_file_holds_up_no_other_recording(lake, put_raw, signal_mv, make_signal, judge):
    put_raw("run.dat", signal_mv)
    put_raw("broken.dat", make_signal(5000, seed=1))
    broken = judge(RecordingKey("org", "broken")).path
    broken.write_bytes(b"not parquet")
    assert judge().verdict is Verdict.CONDITIONED


def test_two_files_for_one_key_are_quarantined(put_raw, signal_mv, judge, causes):
    put_raw("run.dat", signal_mv)
    put_raw("run.npz", signal_mv)
    outcome = judge()
    assert causes(outcome) == {"raw-recording-ambiguous"}
    assert "run.dat and run.npz" in outcome.reason


def test_a_recording_that_is_not_there_is_no_verdict(judge):
    with pytest.raises(LakeError, match="org--run") as refused:
        judge()
    assert refused.value.code == "raw-recording-missing"


def test_a_full_disk_is_raised_and_leaves_everything_as_it_was(lake, put_raw, signal_mv, judge, monkeypatch):
    path = put_raw("run.dat", signal_mv)
    judge()
    former = lake.conditioned_path(KEY).read_bytes()
    save(path, signal_mv[::-1])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("voltpipe.lake.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        judge()
    assert lake.conditioned_path(KEY).read_bytes() == former
    # The last two are one file.
    assert files_in(lake.root) == ["run.dat", "run.json", "run.parquet", "run.v1.parquet"]


def test_stimulation_that_the_sidecar_tells_of_is_left_out(lake, put_raw, signal_mv, judge):
    path = put_raw("run.dat", signal_mv)
    path.with_suffix(".yaml").write_text("stimulation_intervals_s: [[1.0, 1.2], [4.5, 4.6]]\n")
    recording = open_conditioned(judge().path)
    assert recording.facts["stimulation_intervals_s"] == "1 to 1.2, 4.5 to 4.6"
    # Trimmed by 800 ms; each stimulation takes 5 ms more.
    assert recording.metadata.stretches == ((800, 1000), (1205, 4500), (4605, 5000))
    assert recording.segment_starts == (0, 200, 3495)
    np.testing.assert_allclose(recording.read_mv(200, 3495), signal_mv[1205:4500], atol=1e-5)


def test_a_stimulation_that_ends_before_it_begins_is_named(put_raw, signal_mv, judge, causes):
    put_raw("run.dat", signal_mv).with_suffix(".yaml").write_text("stimulation_intervals_s: [[1.0, 0.5]]\n")
    outcome = judge()
    assert causes(outcome) == {"hint-invalid"}
    assert re.search(r"stimulation_intervals_s: .*1\.0 to 0\.5", outcome.reason)


def test_too_little_left_by_blanking_is_quarantined_with_its_figures(lake, put_raw, signal_mv, judge, causes):
    path = put_raw("run.dat", signal_mv)
    path.with_suffix(".yaml").write_text("stimulation_intervals_s: [[3.0, 5.0]]\n")
    outcome = judge()
    assert causes(outcome) == {"duration"}
    assert re.search(r"2\.2 s\b.*\b3 s", outcome.reason)
    assert read_quarantine(lake)[KEY].report.errors[0].figures == {"duration_s": 5, "kept_s": 2.2}
    assert files_in(lake.conditioned) == []


def test_bad_channels_are_left_out_where_that_is_asked_for(lake, put_raw, signal_mv, judge, causes):
    signal_mv[:, 1] = -70
    put_raw("run.dat", signal_mv)
    assert causes(judge()) == {"flat"}
    outcome = condition_raw(lake, KEY, ConditioningSettings(exclude_bad_channels=True))
    assert outcome.verdict is Verdict.CONDITIONED
    assert open_conditioned(outcome.path).channel_names == ("neuron_0", "neuron_2")


def test_a_recording_unlike_its_organoids_others_is_warned_of(put_raw, make_signal, judge):
    for run in range(3):
        put_raw(f"run_{run}.dat", make_signal(5000, seed=run))
        judge(RecordingKey("org", f"run_{run}"))
    put_raw("odd.dat", make_signal(5000, seed=3)[:, :2])
    put_raw("odd.dat", make_signal(5000, seed=3)[:, :2], organoid="other")
    checks = {check.name: check for check in judge(RecordingKey("org", "odd")).report.checks}
    assert not checks["alike"].passed
    assert checks["alike"].severity.value == "warn"
    assert re.search(r"\b2 channels .*1000 Hz, .* 3 ", checks["alike"].message)
    assert checks["alike"].figures == {"usual_channels": 3, "usual_rate_hz": 1000, "compared_with": 3}


def test_a_good_recording_is_read_once_and_its_beginning_twice(put_raw, signal_mv, judge, monkeypatch):
    put_raw("run.npz", signal_mv)
    read = []
    whole = RawRecording.read_mv
    monkeypatch.setattr(
        RawRecording, "read_mv", lambda self, start, stop: read.append(stop - start) or whole(self, start, stop)
    )
    monkeypatch.setattr("voltpipe.recordings.recording.CHUNK_VALUES", 300)
    assert judge().verdict is Verdict.CONDITIONED
    assert sum(read) == 5000 + 2800


def test_samples_that_time_stamps_miss_are_warned_of(put_raw, signal_mv, judge):
    path = put_raw("run.dat", signal_mv)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:3000] + lines[3020:]))
    checks = {check.name: check for check in judge().report.checks}
    assert checks["dropped"].figures == {"dropped_samples": 20, "dropped_share": 20 / 5000}
    assert not checks["gaps"].passed


def test_what_the_sidecar_says_of_the_conditioning_goes_before_the_settings(put_raw, make_signal, judge):
    path = put_raw("run.npz", make_signal(5000))
    path.with_suffix(".yaml").write_text("profile: lfp\nrate_hz: 1250\nkeep_channels: [a, c]\n")
    recording = open_conditioned(judge().path)
    assert recording.metadata.settings.profile is Profile.LFP
    assert recording.rate_hz == 1000
    assert recording.channel_names == ("a", "c")
