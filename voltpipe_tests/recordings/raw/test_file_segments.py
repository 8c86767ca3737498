"""A file of several segments is several recordings; each goes its own way."""

import json
from pathlib import Path

import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.ingest import ingest
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.raw_folder import list_raw, open_raw, raw_path, summarize_raw
from voltpipe.recordings.recording import RecordingError


@pytest.fixture
def folder(tmp_path, make_signal):
    """A spikeinterface binary folder of two segments, 5 s and 4 s, in uV."""
    return write_binary_folder(tmp_path / "rig" / "culture", [make_signal(5000), make_signal(4000, seed=1)])


def write_binary_folder(folder: Path, segments_mv: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for index, segment_mv in enumerate(segments_mv):
        (1000 * segment_mv).tofile(folder / f"traces_cached_seg{index}.raw")
    said = {
        "file_paths": [f"traces_cached_seg{index}.raw" for index in range(len(segments_mv))],
        "sampling_frequency": 1000.0,
        "num_channels": 3,
        "dtype": "<f4",
        "channel_ids": ["a", "b", "c"],
        "time_axis": 0,
        "file_offset": 0,
        "gain_to_uV": [1.0, 1.0, 1.0],
        "offset_to_uV": [0.0, 0.0, 0.0],
    }
    (folder / "binary.json").write_text(json.dumps({"kwargs": said}))
    return folder


def test_a_file_of_several_segments_asks_which_one(folder):
    with pytest.raises(RecordingError, match=r"2 segments \(0 to 1\).*`segment`") as refused:
        open_recording(folder)
    assert refused.value.code == "segment-not-chosen"
    assert open_recording(folder, segment=1).n_samples == 4000
    with pytest.raises(RecordingError, match=r"segment 2.* 2 segments") as refused:
        open_recording(folder, segment=2)
    assert refused.value.code == "segment-unknown"


def test_each_segment_in_the_lake_is_a_recording_of_its_own(lake, folder, make_signal):
    keys = ingest(lake, folder, "org", Hints())
    assert list(map(str, keys)) == ["org--culture.seg0", "org--culture.seg1"]
    assert tuple(list_raw(lake).found) == keys
    assert {raw_path(lake, key) for key in keys} == {lake.raw / "org" / "culture"}
    np.testing.assert_allclose(open_raw(lake, keys[1]).read_mv(0, 4000), make_signal(4000, seed=1), rtol=1e-6)
    assert [summarize_raw(lake, key).duration_s for key in keys] == [5.0, 4.0]
    assert open_raw(lake, keys[1]).facts["segment"] == 1


def test_files_of_known_recordings_are_passed_over_unopened(lake, folder, put_raw, signal_mv, monkeypatch):
    keys = ingest(lake, folder, "org", Hints())
    put_raw("new.dat", signal_mv)
    monkeypatch.setattr("voltpipe.recordings.raw.raw_folder.open_recording", None)
    assert list(list_raw(lake, known=keys).found) == [RecordingKey("org", "new")]


def test_a_sidecar_that_chooses_a_segment_makes_it_the_only_recording(lake, folder):
    (key,) = ingest(lake, folder, "org", Hints(segment=1))
    assert str(key) == "org--culture"
    assert open_raw(lake, key).n_samples == 4000


def test_a_single_segment_keeps_the_files_name(lake, tmp_path, make_signal):
    folder = write_binary_folder(tmp_path / "rig" / "single", [make_signal(100)])
    assert list(map(str, ingest(lake, folder, "org", Hints()))) == ["org--single"]


def test_a_file_named_like_a_segment_is_ambiguous_and_not_used(lake, folder, put_raw, signal_mv):
    ingest(lake, folder, "org", Hints())
    put_raw("culture.seg1.dat", signal_mv)
    listing = list_raw(lake)
    assert list(map(str, listing.found)) == ["org--culture.seg0"]
    assert listing.errors["org/culture.seg1.dat"].code == "raw-recording-ambiguous"
    assert "culture and culture.seg1.dat" in listing.refused["org/culture.seg1.dat"]
    with pytest.raises(RecordingError, match=r"culture and culture\.seg1\.dat") as refused:
        raw_path(lake, RecordingKey("org", "culture.seg1"))
    assert refused.value.code == "raw-recording-ambiguous"


def test_a_segment_that_is_not_there_is_named(lake, folder):
    ingest(lake, folder, "org", Hints())
    with pytest.raises(RecordingError, match="segment 7") as refused:
        open_raw(lake, RecordingKey("org", "culture.seg7"))
    assert refused.value.code == "segment-unknown"
