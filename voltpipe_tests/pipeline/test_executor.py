"""Executor and run launcher are set by configuration, not in code."""

import dagster as dg
import pytest

from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.build_definitions import EXECUTOR_VARIABLE, ExecutorError, build_definitions
from voltpipe.pipeline.dagster_home import DAGSTER_CONFIG_FILE, open_instance
from voltpipe.pipeline.jobs import LAKE_REPORT_JOB

LAUNCHER = """
telemetry: {enabled: false}
run_launcher: {module: dagster._core.launcher.sync_in_memory_run_launcher, class: SyncInMemoryRunLauncher}
"""


def lake_report_job():
    """The job as another process can load it."""
    return build_definitions(Lake.default()).resolve_job_def(LAKE_REPORT_JOB)


@pytest.fixture
def lake(tmp_path, working_directory, monkeypatch, put_recording, spiking_mv):
    lake = Lake(tmp_path / "lake")
    put_recording(lake, "run_0", spiking_mv(0))
    monkeypatch.setenv(LAKE_VARIABLE, str(lake.root))
    return lake


@pytest.mark.slow
def test_runs_use_the_configured_executor(lake, monkeypatch):
    assert build_definitions(lake).executor.name == dg.in_process_executor.name
    monkeypatch.setenv(EXECUTOR_VARIABLE, "dagster:multiprocess_executor")
    assert build_definitions(lake).executor.name == dg.multiprocess_executor.name
    with open_instance(lake) as instance:
        result = dg.execute_job(dg.reconstructable(lake_report_job), instance=instance)
        assert result.success
        records = instance.get_records_for_run(result.run_id).records
        assert lake.page.exists()
    entries = [record.event_log_entry.dagster_event for record in records if record.event_log_entry.dagster_event]
    assert len({entry.pid for entry in entries} - {None}) == 2  # the run's, and that of its only step
    assert list((lake.dagster / "running").iterdir()) == []  # its lock was released


@pytest.mark.parametrize("name", ["dagster", "dagster:no_executor", "no_module:executor", "dagster:asset"])
def test_a_name_that_is_not_an_executor_is_refused(lake, monkeypatch, name):
    monkeypatch.setenv(EXECUTOR_VARIABLE, name)
    with pytest.raises(ExecutorError, match=name) as refused:
        build_definitions(lake)
    assert refused.value.code == "executor-unknown"


def test_the_run_launcher_comes_from_the_lakes_dagster_yaml(lake):
    lake.dagster.mkdir(parents=True)
    (lake.dagster / DAGSTER_CONFIG_FILE).write_text(LAUNCHER)
    with open_instance(lake) as instance:
        assert type(instance.run_launcher).__name__ == "SyncInMemoryRunLauncher"
