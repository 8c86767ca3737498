"""Dagster's home: errors in its configuration are reported, and runs may queue on a cluster."""

import logging
import sys

import dagster as dg
import pytest
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration

from voltpipe.lake.paths import Lake
from voltpipe.pipeline.dagster_home import DagsterHomeError, open_instance, prepare_home

# An example of a launcher that is not Dagster's default one.
OTHER_LAUNCHER = """
run_launcher: {module: dagster._core.launcher.sync_in_memory_run_launcher, class: SyncInMemoryRunLauncher}
"""


@pytest.fixture
def configured(tmp_path, working_directory):
    """Creates a lake whose dagster.yaml ends with these lines."""

    def configure(lines, former="", latter=""):
        lake = Lake(tmp_path / "lake")
        config = prepare_home(lake) / "dagster.yaml"
        config.write_text(config.read_text().replace(former, latter) + lines)
        return lake

    return configure


def start_timeout(lake):
    with open_instance(lake) as instance:
        return instance.run_monitoring_start_timeout_seconds


@pytest.mark.parametrize(
    ("lines", "timeout_s"),
    [
        ("", 180),
        ("run_launcher: {module: dagster, class: DefaultRunLauncher}\n", 180),
        (OTHER_LAUNCHER, 0),
    ],
)
def test_runs_must_start_within_three_minutes_except_on_a_cluster(configured, lines, timeout_s):
    assert start_timeout(configured(lines)) == timeout_s


def test_another_start_timeout_is_the_users_decision(configured):
    lake = configured(OTHER_LAUNCHER, "start_timeout_seconds: 180", "start_timeout_seconds: 3600")
    assert start_timeout(lake) == 3600


@pytest.mark.parametrize(("timeout_s", "status"), [(0, "STARTING"), (1, "FAILURE")])
def test_without_a_start_timeout_dagster_lets_a_run_queue(configured, timeout_s, status):
    lake = configured("", "start_timeout_seconds: 180", f"start_timeout_seconds: {timeout_s}")
    with open_instance(lake) as instance:
        run = instance.create_run_for_job(dg.job(name="waits")(lambda: None), status=dg.DagsterRunStatus.STARTING)
        launched = dg.DagsterEvent("PIPELINE_STARTING", "waits")
        instance.report_dagster_event(launched, run.run_id, timestamp=1.0)
        with create_test_daemon_workspace_context(EmptyWorkspaceTarget(), instance) as workspace:
            list(execute_run_monitoring_iteration(workspace, logging.getLogger()))
        assert instance.get_run_by_id(run.run_id).status.value == status


def test_a_missing_driver_is_named_with_the_install_command(configured, monkeypatch):
    monkeypatch.setitem(sys.modules, "dagster_postgres", None)  # as if it were not installed
    lake = configured("storage: {postgres: {postgres_url: 'postgresql+psycopg2://db/dagster'}}\n")
    with pytest.raises(DagsterHomeError) as refused:
        open_instance(lake)
    assert refused.value.code == "storage-driver-missing"
    assert all(fact in str(refused.value) for fact in ("dagster_postgres", "voltpipe[cluster]", "dagster.yaml"))


def test_a_configuration_that_dagster_refuses_is_named(configured):
    with pytest.raises(DagsterHomeError) as refused:
        open_instance(configured("storage: {oracle: {}}\n"))
    assert refused.value.code == "storage-unusable"
    assert "oracle" in str(refused.value)
