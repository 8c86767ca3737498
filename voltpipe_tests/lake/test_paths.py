"""Paths stay inside the lake, and a key names exactly one recording."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from voltpipe.cli.main import main
from voltpipe.lake.keys import LakeError, RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE, Lake

GOOD = ["a", "A1", "run_0", "2024.05.01", "slice-3", "a.b-c_d", "x" * 100]
BAD = [
    "",
    ".",
    "..",
    ".hidden",
    "a/b",
    "../a",
    "/etc",
    "a\\b",
    "a\0b",
    "a b",
    "a\n",
    "a--b",
    "-a",
    "a-",
    "a.",
    "a..b",
    "_a",
    "*",
    "[ab]",
    "Größe",
    "x" * 101,
]


@pytest.mark.parametrize("name", GOOD)
def test_a_partition_key_reads_back_as_the_key_it_was_made_from(name):
    key = RecordingKey("organoid-1", name)
    assert str(key) == f"organoid-1--{name}"
    assert RecordingKey.parse(str(key)) == key
    assert RecordingKey.parse(str(RecordingKey(name, "run_0"))) == RecordingKey(name, "run_0")


@pytest.mark.parametrize("name", BAD)
def test_unsafe_and_ambiguous_names_are_refused(name):
    for make in (lambda: RecordingKey(name, "run_0"), lambda: RecordingKey("organoid", name)):
        with pytest.raises(LakeError, match=re.escape(repr(name))) as refused:
            make()
        assert refused.value.code == "name-invalid"


@pytest.mark.parametrize("text", ["", "organoid", "organoid-run", "organoid--", "--run", "a--b--c", "a--../b", "a---b"])
def test_malformed_partition_keys_are_refused(text):
    with pytest.raises(LakeError):
        RecordingKey.parse(text)


def test_a_recordings_files_are_in_the_folders_of_their_stages():
    lake, key = Lake(Path("/lake")), RecordingKey("slice", "run_0")
    assert lake.conditioned_path(key) == Path("/lake/conditioned/slice/run_0.parquet")
    assert lake.quarantine_path(key) == Path("/lake/quarantine/slice/run_0.json")


def test_a_name_with_a_dot_keeps_it():
    assert Lake(Path("/lake")).conditioned_path(RecordingKey("s", "2024.05")).name == "2024.05.parquet"


def test_an_environment_variable_sets_the_lake(monkeypatch, tmp_path):
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path / "elsewhere"))
    assert Lake.default().root == tmp_path / "elsewhere"


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_url_names_a_folder(monkeypatch, tmp_path, host):
    monkeypatch.setenv(LAKE_VARIABLE, f"file://{host}{tmp_path}/my%20lake")
    assert Lake.default().root == tmp_path / "my lake"


@pytest.mark.parametrize("url", ["s3://lake/one", "gs://lake", "az://lake/one", "S3://lake", "file://other-host/lake"])
def test_other_urls_are_refused_and_no_folder_is_created_for_them(monkeypatch, tmp_path, url):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(LAKE_VARIABLE, url)
    with pytest.raises(LakeError) as refused:
        Lake.default()
    assert refused.value.code == "lake-url-unsupported"
    assert url in str(refused.value)
    assert LAKE_VARIABLE in str(refused.value)
    result = CliRunner().invoke(main, ["doctor"])
    assert (result.exit_code, url in result.output) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unset", [True, False])
def test_by_default_the_lake_is_in_the_working_directory(monkeypatch, tmp_path, unset):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(LAKE_VARIABLE, "")
    if unset:
        monkeypatch.delenv(LAKE_VARIABLE)
    assert Lake.default().root == tmp_path / "data_lake"
    assert not (tmp_path / "data_lake").exists()
