"""The raw folder: what counts as a recording, and how a new one comes in."""

import re

import pytest

from voltpipe.lake.files import file_digest
from voltpipe.lake.keys import LakeError, RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw import raw_folder
from voltpipe.recordings.raw.ingest import ingest
from voltpipe.recordings.raw.raw_folder import list_raw, summarize_raw
from voltpipe.recordings.raw.sidecar import read_hints
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings


def test_an_empty_lake_has_no_recordings(lake):
    assert list_raw(lake).found == {}


def test_recordings_are_found_by_key_and_sidecars_and_hidden_files_passed_over(lake, put_raw, signal_mv):
    text, array = put_raw("run_1.dat", signal_mv), put_raw("run_0.npy", signal_mv, organoid="other")
    (text.parent / ".run_2.dat.1234.partial").write_text("half")
    listing = list_raw(lake)
    assert listing.found == {RecordingKey("org", "run_1"): text, RecordingKey("other", "run_0"): array}
    assert listing.refused == {}


def test_what_is_not_used_is_listed_with_its_reason(lake, put_raw, signal_mv, tmp_path):
    folder = put_raw("twice.dat", signal_mv).parent
    put_raw("twice.npz", signal_mv)
    put_raw("bad--name.dat", signal_mv)
    (folder / "notes.docx").write_text("words")
    (folder / "nested.nwb").mkdir()
    (lake.raw / "stray.dat").write_text("0 1\n")
    secret = tmp_path / "secret.dat"
    secret.write_text("0 1\n1 2\n")
    (folder / "link.dat").symlink_to(secret)
    put_raw("hinted.dat", signal_mv).with_suffix(".yaml").symlink_to(secret)
    listing = list_raw(lake)
    assert listing.found == {}
    expected = {
        "org/hinted.dat": ("link-out-of-lake", "sidecar"),
        "org/twice.dat": ("raw-recording-ambiguous", "twice.dat and twice.npz"),
        "org/twice.npz": ("raw-recording-ambiguous", "twice.dat and twice.npz"),
        "org/bad--name.dat": ("name-invalid", "'bad--name'"),
        "org/notes.docx": ("format-unknown", "'.docx'"),
        "org/nested.nwb": ("format-unknown", "nested.nwb"),
        "stray.dat": ("not-in-organoid-folder", "raw/<organoid>/<recording>"),
        "org/link.dat": ("link-out-of-lake", "link"),
    }
    assert {path: error.code for path, error in listing.errors.items()} == {
        path: code for path, (code, _) in expected.items()
    }
    for path, (_, named) in expected.items():
        assert named in listing.refused[path]


def test_a_folder_that_links_out_of_the_lake_is_not_used(lake, tmp_path, put_raw, signal_mv):
    put_raw("run.dat", signal_mv)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "run.dat").write_text("0 1\n1 2\n")
    (lake.raw / "linked").symlink_to(outside)
    listing = list_raw(lake)
    assert list(map(str, listing.found)) == ["org--run"]
    assert listing.errors["linked/run.dat"].code == "link-out-of-lake"


def test_a_raw_recording_is_inspected_without_reading_its_samples(lake, put_raw, signal_mv):
    path = put_raw("run.npz", signal_mv)
    facts = summarize_raw(lake, RecordingKey("org", "run"))
    assert (facts.path, facts.format, facts.rate_hz, facts.n_samples, facts.duration_s) == (path, "NPZ", 1000, 5000, 5)
    assert facts.channel_names == ("a", "b", "c")
    assert facts.size_bytes == path.stat().st_size
    with pytest.raises(LakeError, match="org--other") as refused:
        summarize_raw(lake, RecordingKey("org", "other"))
    assert refused.value.code == "raw-recording-missing"


@pytest.fixture
def rig_file(tmp_path, writers, signal_mv):
    path = tmp_path / "rig" / "run_7.dat"
    path.parent.mkdir()
    writers["dat"](path, signal_mv)
    return path


def test_a_raw_file_is_digested_once_until_it_changes(lake, put_raw, make_signal, monkeypatch):
    digested = []
    monkeypatch.setattr(raw_folder, "file_digest", lambda path: digested.append(path) or file_digest(path))
    path, key = put_raw("run.npz", make_signal(5000)), RecordingKey("org", "run")
    first = summarize_raw(lake, key).digest
    outcome = condition_raw(lake, key, ConditioningSettings())
    assert outcome.figures["source_digest"] == first
    assert digested == [path]
    put_raw("run.npz", make_signal(5001))
    assert summarize_raw(lake, key).digest == file_digest(path) != first
    assert digested == [path, path]


def test_a_file_is_ingested_whole_with_its_hints(lake, rig_file):
    rig_file.with_suffix(".yaml").write_text("condition: baseline\npreparation: organoid\n")
    keys = ingest(lake, rig_file, "org", Hints(condition="drug"))
    assert list(map(str, keys)) == ["org--run_7"]
    copy = list_raw(lake).found[keys[0]]
    assert copy.read_bytes() == rig_file.read_bytes()
    assert read_hints(copy) == Hints(condition="drug", preparation="organoid")
    assert sorted(path.name for path in copy.parent.iterdir()) == ["run_7.dat", "run_7.yaml"]


def test_the_same_file_again_changes_nothing_but_hints(lake, rig_file):
    (key,) = ingest(lake, rig_file, "org", Hints())
    copy = list_raw(lake).found[key]
    written_at = copy.stat().st_mtime_ns
    assert ingest(lake, rig_file, "org", Hints(condition="drug")) == (key,)
    assert ingest(lake, rig_file, "org", Hints()) == (key,)
    assert copy.stat().st_mtime_ns == written_at
    assert read_hints(copy).condition == "drug"


def test_other_content_under_the_same_name_is_refused(lake, rig_file):
    (key,) = ingest(lake, rig_file, "org", Hints())
    copy = list_raw(lake).found[key]
    former = copy.read_bytes()
    rig_file.write_text("0 1\n1 2\n")
    with pytest.raises(RecordingError, match=str(key)) as refused:
        ingest(lake, rig_file, "org", Hints())
    assert refused.value.code == "raw-content-differs"
    assert copy.read_bytes() == former
    rig_file.rename(rig_file.with_suffix(".csv"))
    with pytest.raises(RecordingError, match=r"run_7\.dat") as refused:
        ingest(lake, rig_file.with_suffix(".csv"), "org", Hints())
    assert refused.value.code == "raw-name-taken"


@pytest.mark.parametrize("organoid", ["../up", "a--b", ""])
def test_a_name_that_could_leave_the_lake_is_refused(lake, rig_file, organoid):
    with pytest.raises(LakeError, match=re.escape(repr(organoid))) as refused:
        ingest(lake, rig_file, organoid, Hints())
    assert refused.value.code == "name-invalid"
    assert not lake.root.exists()
