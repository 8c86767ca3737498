"""A disk that fills up during a registration leaves no incomplete version."""

import subprocess

import pytest
from mlflow.exceptions import MlflowException

from voltpipe.tracking.model_registry import champion
from voltpipe.tracking.registration import register
from voltpipe.tracking.served_model import log_forecaster


@pytest.fixture
def small_artifacts(store):
    """Mount a file system of 1 MiB for MLflow's artifacts."""
    folder = store.folder / "artifacts"
    folder.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_registers_nothing_and_a_retry_with_room_registers_one_complete_version(
    small_artifacts, store, run, forecaster, history_mv
):
    filler = small_artifacts / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(2**21))
    with pytest.raises((OSError, MlflowException), match="No space left"):
        log_forecaster(run, forecaster, history_mv, {"test/r2/h1": 0.5})
    assert store.client.search_model_versions("") == []
    filler.unlink()
    uri = log_forecaster(run, forecaster, history_mv, {"test/r2/h1": 0.5})
    version = register(run, uri, card="what it is", tags={"architecture": "autoregression"})
    models = store.client.search_logged_models([store.experiment_id])
    assert sorted(str(model.status) for model in models) == ["FAILED", "READY"]
    (registered,) = store.client.search_model_versions("")
    assert (registered.version, registered.description) == (int(version.version), "what it is")
    assert champion(store) is None


def test_a_process_killed_during_registration_leaves_a_complete_version(
    store, run, forecaster, history_mv, monkeypatch
):
    uri = log_forecaster(run, forecaster, history_mv, {})
    monkeypatch.setattr("voltpipe.tracking.registration.champion", lambda store: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        register(run, uri, card="what it is", tags={"architecture": "autoregression"})
    monkeypatch.undo()
    (left,) = store.client.search_model_versions("")
    assert left.description == "what it is"
    assert left.tags["architecture"] == "autoregression"
    register(run, uri, card="what it is", tags={"architecture": "autoregression"})
    assert store.client.get_model_version_by_alias("voltage-forecaster", "challenger").version == left.version
