"""Truncated, replaced and empty files are refused with their name, when opened or when read."""

import numpy as np
import pytest

from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.recording import RecordingError

EXTENSIONS = ["nwb", "dat", "csv", "npy", "npz", "parquet"]


@pytest.fixture(params=EXTENSIONS)
def path(request, tmp_path, signal_mv, writers):
    path = tmp_path / f"recording.{request.param}"
    writers[request.param](path, signal_mv)
    return path


def open_and_read(path):
    recording = open_recording(path)
    recording.read_mv(0, recording.n_samples)


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.01])
def test_a_truncated_file_is_refused(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) - 1])
    with pytest.raises(RecordingError, match=r"recording\."):
        open_and_read(path)


def test_an_empty_file_is_refused(path):
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match=r"recording\.") as refused:
        open_and_read(path)
    assert refused.value.code == "file-empty"


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, b"PK\x03\x04" + b"\0" * 500])
def test_content_of_another_format_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"recording\."):
        open_and_read(path)


@pytest.mark.parametrize("extension", ["npy", "npz", "parquet"])
def test_a_file_without_channels_is_refused(tmp_path, extension, writers):
    path = tmp_path / f"recording.{extension}"
    writers[extension](path, np.empty((5000, 0), np.float32))
    with pytest.raises(RecordingError, match=r"0 channels") as refused:
        open_recording(path)
    assert refused.value.code == "recording-empty"


def test_a_pickle_is_never_loaded(tmp_path):
    class Planted:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    for name in ("planted.npy", "planted.npz"):
        path = tmp_path / name
        planted = np.array([[Planted()] * 2] * 4, dtype=object)
        if name.endswith("npy"):
            np.save(path, planted, allow_pickle=True)
        else:
            np.savez(path, allow_pickle=True, voltage=planted)
        with pytest.raises(RecordingError):
            open_and_read(path)
    assert not tmp_path.joinpath("executed").exists()


def test_an_unknown_extension_is_refused_with_the_known_ones(tmp_path):
    path = tmp_path / "recording.docx"
    path.write_bytes(b"x")
    with pytest.raises(RecordingError, match=r"\.docx.*\.nwb, \.dat") as refused:
        open_recording(path)
    assert refused.value.code == "format-unknown"


def test_an_array_with_time_along_the_second_axis_is_refused(tmp_path, signal_mv):
    path = tmp_path / "recording.npy"
    np.save(path, signal_mv.T)
    with pytest.raises(RecordingError, match=r"\(3, 5000\)") as refused:
        open_recording(path, unit="mV", rate_hz=1000)
    assert refused.value.code == "array-transposed"
