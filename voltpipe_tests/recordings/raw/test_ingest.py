"""Recordings that are several files come into the lake as one folder, whole or not at all."""

import errno

import numpy as np
import pytest

from voltpipe.lake.files import file_digest
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.ingest import ingest
from voltpipe.recordings.raw.raw_folder import list_raw, open_raw
from voltpipe.recordings.raw.sidecar import read_hints
from voltpipe.recordings.recording import RecordingError

HEADER = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
DataFile=run 1.eeg
MarkerFile=run 1.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=3
SamplingInterval=1000
[Binary Infos]
BinaryFormat=INT_16
[Channel Infos]
Ch1=a,,1000,µV
Ch2=b,,1000,µV
Ch3=c,,1000,µV
"""


@pytest.fixture
def header(tmp_path):
    """A BrainVision recording of three files, in whole mV, beside another file of the rig's folder."""
    folder = tmp_path / "rig"
    folder.mkdir()
    (folder / "run_1.vhdr").write_text(HEADER.replace("run 1", "run_1"), encoding="utf-8")
    (folder / "run_1.vmrk").write_text("Brain Vision Data Exchange Marker File, Version 1.0\n[Marker Infos]\n")
    np.arange(300, dtype="<i2").reshape(100, 3).tofile(folder / "run_1.eeg")
    (folder / "run_1.yaml").write_text("condition: baseline\n")
    (folder / "run_2.vhdr").write_text("another recording")
    return folder / "run_1.vhdr"


def test_one_file_of_several_brings_the_others_into_a_folder(lake, header):
    (key,) = ingest(lake, header, "org", Hints())
    assert str(key) == "org--run_1"
    folder = lake.raw / "org" / "run_1"
    assert sorted(file.name for file in folder.iterdir()) == ["run_1.eeg", "run_1.vhdr", "run_1.vmrk"]
    assert read_hints(folder).condition == "baseline"
    recording = open_raw(lake, key)
    np.testing.assert_allclose(recording.read_mv(0, 2), [[0, 1, 2], [3, 4, 5]])
    assert recording.channel_names == ("a", "b", "c")
    assert ingest(lake, header, "org", Hints()) == (key,)


def test_the_digest_of_a_folder_covers_its_samples(lake, header):
    ingest(lake, header, "org", Hints())
    former = file_digest(lake.raw / "org" / "run_1")
    samples = header.with_suffix(".eeg")
    samples.write_bytes(samples.read_bytes()[::-1])
    with pytest.raises(RecordingError, match="org--run_1") as refused:
        ingest(lake, header, "org", Hints())
    assert refused.value.code == "raw-content-differs"
    assert file_digest(lake.raw / "org" / "run_1") == former


def test_files_that_need_a_folder_are_not_used_without_one(lake, header):
    organoid = lake.raw / "org"
    organoid.mkdir(parents=True)
    for file in header.parent.glob("run_1.[ve]*"):
        file.rename(organoid / file.name)
    listing = list_raw(lake)
    assert listing.found == {}
    assert listing.errors["org/run_1.vhdr"].code == "folder-required"
    assert "BrainVision" in listing.refused["org/run_1.vhdr"]


def test_a_folder_with_a_link_out_of_the_lake_is_not_used(lake, header, tmp_path):
    ingest(lake, header, "org", Hints())
    samples = lake.raw / "org" / "run_1" / "run_1.eeg"
    samples.rename(tmp_path / "elsewhere.eeg")
    samples.symlink_to(tmp_path / "elsewhere.eeg")
    listing = list_raw(lake)
    assert listing.found == {}
    assert listing.errors["org/run_1"].code == "link-out-of-lake"


def test_a_folder_of_two_formats_is_refused(lake, header):
    (header.parent / "CSC1.ncs").write_bytes(b"")
    with pytest.raises(RecordingError, match="BrainVision and Neuralynx") as refused:
        ingest(lake, header.parent, "org", Hints())
    assert refused.value.code == "format-ambiguous"


def test_a_full_disk_leaves_no_half_folder(lake, header, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    header.with_suffix(".yaml").unlink()
    monkeypatch.setattr("voltpipe.recordings.raw.ingest.shutil.copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        ingest(lake, header, "org", Hints())
    assert list((lake.raw / "org").iterdir()) == []
    assert list_raw(lake).found == {}
