"""Dagster's stores in Postgres, with the lines in docs/operations.md, on a real server if one is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import dagster as dg
import pytest
import yaml

import voltpipe
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.dagster_home import DagsterHomeError, open_instance, prepare_home
from voltpipe.pipeline.launcher import Launcher

OPERATIONS = Path(voltpipe.__file__).parents[1] / "docs" / "operations.md"
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), shutil.which("initdb"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(POSTGRES is None, reason="no Postgres server on this machine (Debian: apt install postgresql)"),
    pytest.mark.skipif(find_spec("dagster_postgres") is None, reason="pip install 'voltpipe[cluster]' is missing"),
]


@pytest.fixture(scope="module")
def server():
    """Port of a Postgres server on loopback, with its folder and the user it runs as: it refuses to be root."""
    user = {"user": "nobody"} if os.getuid() == 0 else {}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="voltpipe-postgres-") as folder:  # pytest's own is closed to other users
        if user:
            shutil.chown(folder, user["user"])

        def run(program, *arguments):
            command = [Path(POSTGRES).with_name(program), *("-D", f"{folder}/data"), *arguments]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **user)

        run("initdb", *("--auth", "trust", "--username", "voltpipe", "--no-sync", "--locale", "C"))
        listen = f"-p {port} -h 127.0.0.1 -k {folder}"
        run("pg_ctl", "start", "--wait", *("--log", f"{folder}/log", "--options", listen))
        try:
            yield port
        finally:
            run("pg_ctl", "stop", "--wait", "--mode", "immediate")


def storage(port, *, without=()):
    """The storage block of docs/operations.md, for this server."""
    block = OPERATIONS.read_text().partition("    storage:\n")[2].partition("\n\n")[0]
    configuration = yaml.safe_load("    storage:\n" + block)
    database = configuration["storage"]["postgres"]["postgres_db"]
    database |= {"hostname": "127.0.0.1", "port": port, "db_name": "postgres"}
    for name in without:
        del database[name]
    return yaml.safe_dump(configuration)


@pytest.fixture
def lake(tmp_path, working_directory, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "not asked for")
    return Lake(tmp_path / "lake")


def configure(lake, lines):
    with (prepare_home(lake) / "dagster.yaml").open("a") as file:
        file.write(lines)


def test_recordings_are_ingested_without_any_sqlite_file_of_dagster(lake, server, put_recording, spiking_mv):
    configure(lake, storage(server))
    key = RecordingKey("slice", "run_0")
    put_recording(lake, key.recording, spiking_mv(0))
    launcher = Launcher(lake)
    launcher.ingest([key])
    assert lake.conditioned_path(key).exists()
    report, ingest = launcher.instance.get_runs()
    assert {report.status, ingest.status} == {dg.DagsterRunStatus.SUCCESS}
    assert launcher.instance.get_dynamic_partitions("recordings") == [str(key)]
    assert list(lake.dagster.rglob("*.db")) == []
    with open_instance(lake) as again:
        assert {run.run_id for run in again.get_runs()} == {report.run_id, ingest.run_id}


def test_a_missing_scheme_is_refused_with_the_remedy(lake, server):
    configure(lake, storage(server, without=["scheme"]))
    with pytest.raises(DagsterHomeError) as refused:
        open_instance(lake)
    assert refused.value.code == "storage-driver-missing"
    assert "postgresql+psycopg2" in str(refused.value)


def test_a_postgres_server_that_is_down_is_named(lake, server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        configure(lake, storage(port))
        with pytest.raises(DagsterHomeError) as refused:
            open_instance(lake)
    assert refused.value.code == "storage-unusable"
    assert str(port) in str(refused.value)
