"""Writes are atomic, and digests depend only on content."""

import hashlib

import pytest

from voltpipe.lake.files import atomic_write, atomic_write_folder, content_digest, file_digest, read_json, write_json


class BlackoutError(Exception):
    """An error in the middle of a write."""


def write_half(path):
    path.write_text("half")
    raise BlackoutError


def test_a_file_appears_once_the_block_has_succeeded(tmp_path):
    path = tmp_path / "new" / "voltage.txt"
    with atomic_write(path) as partial:
        partial.write_text("-60 mV")
        assert not path.exists()
    assert path.read_text() == "-60 mV"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_former_file_stays_and_no_other_file_is_left(tmp_path):
    path = tmp_path / "voltage.txt"
    path.write_text("former")
    with pytest.raises(BlackoutError), atomic_write(path) as partial:
        write_half(partial)
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_leaves_the_former_file(tmp_path):
    path = tmp_path / "voltage.txt"
    path.write_text("former")
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    assert path.read_text() == "former"


def test_a_folder_replaces_the_former_one_completely(tmp_path):
    folder = tmp_path / "set"
    for name in ("old", "new"):
        with atomic_write_folder(folder) as partial:
            (partial / name).touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [folder]


def test_after_an_error_the_former_folder_stays(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(BlackoutError), atomic_write_folder(folder) as partial:
        write_half(partial / "new")
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_json_reads_back_as_written(tmp_path):
    write_json(tmp_path / "a.json", {"rate_hz": 1000.0, "names": ["a", "b"]})
    assert read_json(tmp_path / "a.json") == {"rate_hz": 1000.0, "names": ["a", "b"]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_hold_are_refused_and_the_former_file_stays(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, {"r2": 0.75})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"r2": value})
    assert read_json(path) == {"r2": 0.75}


def test_a_files_digest_is_the_sha_256_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    large = b"0123456789" * 300_000
    (tmp_path / "b").write_bytes(large)
    assert file_digest(tmp_path / "b") == hashlib.sha256(large).hexdigest()


def fill_folder(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_folders_digest_depends_on_names_and_bytes_but_not_on_order_and_place(tmp_path):
    first = fill_folder(tmp_path / "1", {"a": b"x", "sub/b": b"y"})
    second = fill_folder(tmp_path / "2", {"sub/b": b"y", "a": b"x"})
    assert file_digest(first) == file_digest(second)


@pytest.mark.parametrize("other", [{"a": b"x", "c": b"y"}, {"a": b"x", "b": b"z"}, {"a": b"x"}, {"a": b"xb\0y"}])
def test_folders_with_different_files_have_different_digests(tmp_path, other):
    folder, another = fill_folder(tmp_path / "1", {"a": b"x", "b": b"y"}), fill_folder(tmp_path / "2", other)
    assert file_digest(folder) != file_digest(another)


def test_the_digest_of_content_does_not_depend_on_the_order_of_keys():
    assert content_digest({"a": 1, "b": {"c": 2, "d": 3}}) == content_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert content_digest({"a": [1, 2]}) != content_digest({"a": [2, 1]})
