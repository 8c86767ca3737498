"""`voltpipe doctor` recognizes the servers of `voltpipe up`, and reports conflicts between machines."""

import json
import os
import socket
import sys
import time
from dataclasses import asdict, replace

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from voltpipe.cli import doctor
from voltpipe.lake.locks import SILENT_AFTER_S, LockHolder, published_lock
from voltpipe.lake.paths import Lake
from voltpipe.pipeline import runs
from voltpipe.pipeline.dagster_home import open_instance, prepare_home
from voltpipe.tracking.mlflow_store import TRACKING_VARIABLE

ELSEWHERE = replace(LockHolder.this_process(), host="host-b", boot="another kernel", pid=77)


@pytest.fixture
def lake(tmp_path, working_directory):
    return Lake(tmp_path / "lake")


@pytest.fixture
def listener():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def leave(path, holder, silent_s=0.0):
    """Write a lock file as another machine would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(holder)))
    touched = time.time() - silent_s
    os.utime(path, (touched, touched))


def ports(lake, port):
    return list(doctor._ports(lake, "127.0.0.1", {"Dagster": port}))


def test_a_port_is_wrong_if_another_process_than_voltpipe_up_listens_on_it(lake, listener):
    (finding,) = ports(lake, listener)
    assert "--dagster-port" in finding.remedy
    with published_lock(lake.dagster / "serving" / "here", {"Dagster": f"http://127.0.0.1:{listener}"}):
        (finding,) = ports(lake, listener)
        assert finding.healthy
        assert (f":{listener}" in finding.found, "voltpipe up" in finding.found) == (True, True)
        (served,) = doctor._servers(lake)
        assert served.healthy
        assert f"process {os.getpid()} on {socket.gethostname()}" in served.found
    assert not ports(lake, listener)[0].healthy
    # Left by a killed `voltpipe up`: another process listens on the port now.
    leave(
        lake.dagster / "serving" / "killed",
        replace(LockHolder.this_process(), details={"Dagster": f"http://127.0.0.1:{listener}"}),
    )
    assert not ports(lake, listener)[0].healthy
    assert list(doctor._servers(lake)) == []


def test_a_second_voltpipe_up_is_reported_with_its_host_until_it_is_silent(lake):
    with published_lock(lake.dagster / "serving" / "here", {}):
        leave(lake.dagster / "serving" / "there", ELSEWHERE)
        findings = list(doctor._servers(lake))
        assert [finding.healthy for finding in findings] == [False, False]
        assert any("process 77 on host-b" in finding.found for finding in findings)
        leave(lake.dagster / "serving" / "there", ELSEWHERE, 2 * SILENT_AFTER_S)
        (finding,) = doctor._servers(lake)
        assert finding.healthy


def beat(instance, daemon_type, daemon_id, age_s=0.0):
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age_s, daemon_type, daemon_id, []))


@pytest.mark.slow
def test_several_daemons_are_distinguished_from_one_that_was_restarted(lake, monkeypatch):
    with open_instance(lake) as instance:
        assert runs.beating_daemons(instance) == 0
        beat(instance, "SENSOR", "a", age_s=3)
        beat(instance, "SCHEDULER", "a", age_s=3)
        assert runs.beating_daemons(instance) == 0
        beat(instance, "SENSOR", "b", age_s=3)
        beats = []

        def one_more(_):
            beat(instance, "SENSOR", "b")
            if beats:
                beat(instance, "SCHEDULER", "a")
            beats.append(1)

        monkeypatch.setattr(time, "sleep", one_more)
        assert runs.beating_daemons(instance) == 2
        monkeypatch.setattr(runs, "_HEARTBEAT_S", 2.0)
        beat(instance, "SCHEDULER", "a", age_s=1)
        monkeypatch.setattr(time, "sleep", lambda _: beat(instance, "SENSOR", "b"))
        assert runs.beating_daemons(instance) == 0


@pytest.mark.slow
def test_a_run_on_a_silent_machine_is_reported_with_its_host(lake):
    with open_instance(lake) as instance:
        run = instance.create_run_for_job(dg.job(name="train")(lambda: None), status=dg.DagsterRunStatus.STARTED)
    lock = lake.dagster / "running" / run.run_id
    leave(lock, ELSEWHERE)
    assert [finding for finding in doctor._dagster(lake) if not finding.healthy] == []
    leave(lock, ELSEWHERE, 600)
    (wrong,) = [finding for finding in doctor._dagster(lake) if not finding.healthy]
    assert all(part in wrong.found for part in (run.run_id, "host-b", "10 min"))


def test_a_missing_driver_of_either_store_is_reported(lake, monkeypatch):
    prepare_home(lake)
    with (lake.dagster / "dagster.yaml").open("a") as file:
        file.write("storage: {postgres: {postgres_url: 'postgresql+psycopg2://db/dagster'}}\n")
    monkeypatch.setitem(sys.modules, "dagster_postgres", None)
    monkeypatch.setenv(TRACKING_VARIABLE, "postgresql://localhost:9/mlflow")  # SQLAlchemy takes psycopg 3 for that
    wrong = {
        finding.subject: finding
        for finding in doctor.run_checks(lake, host="127.0.0.1", ports={})
        if not finding.healthy
    }
    assert "voltpipe[cluster]" in wrong["Dagster"].found
    assert "psycopg" in wrong["MLflow"].found
    assert "postgresql+psycopg2" in wrong["MLflow"].remedy


def test_an_mlflow_server_elsewhere_needs_no_port(lake, listener, monkeypatch):
    monkeypatch.setenv(TRACKING_VARIABLE, "http://mlflow.lab:5000")
    (finding,) = doctor._ports(lake, "127.0.0.1", {"MLflow": listener})
    assert finding.healthy
    assert "http://mlflow.lab:5000" in finding.found
