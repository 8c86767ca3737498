"""The embedded store is created once, in the lake and nowhere else."""

import shutil
import subprocess
import sys

import pytest

from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore

USE = """
import sys
from pathlib import Path
from voltpipe.tracking.mlflow_store import TrackingStore
print(TrackingStore(Path(sys.argv[1])).experiment_id)
"""


@pytest.mark.slow
def test_several_processes_can_create_the_store_at_once(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", USE, str(tmp_path / "mlflow")], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(answers) == 1


def test_nothing_is_written_outside_the_lake(store, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run = store.client.create_run(store.experiment_id)
    store.client.log_text(run.info.run_id, "hello", "note.txt")
    assert list(elsewhere.iterdir()) == []
    assert next((store.folder / "artifacts").rglob("note.txt")).read_text() == "hello"


def test_two_stores_in_one_process_do_not_mix(store, tmp_path):
    other = TrackingStore(shutil.copytree(store.folder, tmp_path / "other"))
    other.client.create_run(other.experiment_id)
    assert len(other.client.search_runs([other.experiment_id])) == 1
    assert store.client.search_runs([store.experiment_id]) == []


def test_the_error_for_a_deleted_experiment_names_the_command_that_restores_it(store):
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore -x {store.experiment_id}") as refused:
        _ = TrackingStore(store.folder).experiment_id
    assert refused.value.code == "experiment-deleted"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("settings mlflow_store tracked_run run_lifecycle mlflow_ui", {"mlflow", "torch", "pandas"}),
        ("promotion_rules model_registry served_model", {"mlflow"}),
    ],
)
def test_importing_a_module_imports_nothing_heavy(modules, heavy):
    imports = "\n".join(f"import voltpipe.tracking.{module}" for module in modules.split())
    loads = f"{imports}\nimport sys\nprint(*{heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True).stdout == "\n"
