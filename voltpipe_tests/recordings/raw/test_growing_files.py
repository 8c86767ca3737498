"""A file that a rig still writes to is left alone."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.ingest import ingest
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.raw_folder import is_being_written, raw_fingerprint
from voltpipe.recordings.recording import RecordingError

RIG = """
import sys, h5py
file = h5py.File(sys.argv[1], "a")
print("recording", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def recorded(tmp_path, writers, signal_mv):
    path = tmp_path / "run.nwb"
    writers["nwb"](path, signal_mv)
    return path


@pytest.fixture
def rig(recorded):
    """A program that holds the file open for writing."""
    with subprocess.Popen(
        [sys.executable, "-c", RIG, recorded], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout.readline() == "recording\n"
        yield program
        program.stdin.close()


def test_a_file_that_is_open_for_writing_is_not_opened_or_taken_in(lake, recorded, rig):
    assert is_being_written(recorded)
    for attempt in (lambda: open_recording(recorded), lambda: ingest(lake, recorded, "org", Hints())):
        with pytest.raises(RecordingError, match=recorded.name) as refused:
            attempt()
        assert refused.value.code == "file-being-written"
    assert not lake.root.exists()
    rig.stdin.close()
    rig.wait()
    assert not is_being_written(recorded)
    assert open_recording(recorded).n_samples == 5000


def test_a_reader_does_not_look_like_a_rig(recorded):
    with h5py.File(recorded, "r"):
        assert not is_being_written(recorded)


def test_a_file_of_a_folder_that_grows_changes_the_folders_state(tmp_path):
    folder = tmp_path / "session"
    (folder / "recording1").mkdir(parents=True)
    samples = folder / "recording1" / "continuous.dat"
    np.zeros(10, np.int16).tofile(samples)
    former = raw_fingerprint(folder)
    assert raw_fingerprint(folder) == former
    np.zeros(20, np.int16).tofile(samples)
    assert raw_fingerprint(folder) != former
