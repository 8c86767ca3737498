"""The forecaster as MLflow serves it: mV in, mV out, and no loaded file can run code."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from voltpipe.forecasting.forecaster import Forecaster
from voltpipe.forecasting.forecaster_files import ForecasterError
from voltpipe.forecasting.novelty import NoveltyConfig, NoveltyDetector
from voltpipe.tracking.mlflow_store import TrackingError
from voltpipe.tracking.model_registry import load_forecaster
from voltpipe.tracking.registration import register
from voltpipe.tracking.served_model import (
    SERVED_FORECASTER_FOLDER,
    NoveltyWarning,
    ServedForecaster,
    log_forecaster,
    served_forecast_mv,
)
from voltpipe.tracking.tracked_run import RunInput

pytestmark = pytest.mark.slow

SCORED_ON = RunInput("window_set", "ab" * 32, "evaluation", Path("/lake/windows/set-ab"))
EXPECTED_MV = [[-55.0, -60.0, -62.0], [-57.5, -60.0, -61.0]]
"""A half and a quarter of the last sample's deviations from -60 mV, which are 10, 0 and -4 mV."""

MLMODEL_0_1_0 = """
flavors:
  python_function:
    data: data/forecaster
    env: {}
    loader_module: voltpipe.tracking.served_model
mlflow_version: 3.17.0
signature:
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4, 3]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2, 3]}}]'
"""


@pytest.fixture
def model(run, forecaster, history_mv):
    uri = log_forecaster(run, forecaster, history_mv, {"test/r2/h1": 0.7}, SCORED_ON)
    return run.store.client.get_logged_model(uri.removeprefix("models:/"))


@pytest.fixture
def model_folder(model):
    return Path(model.artifact_location.removeprefix("file://"))


def test_the_logged_model_is_linked_with_its_run_and_scores(run, model):
    assert model.status.name == "READY"
    assert model.source_run_id == run.run_id
    assert model.params["horizons_samples"] == "1, 2"
    assert {metric.key: metric.value for metric in model.metrics} == {"test/r2/h1": 0.7}
    [score] = model.metrics  # which MLflow's page of the model names its datasets by
    assert (score.dataset_name, score.dataset_digest) == ("window_set", "ab" * 16)
    [dataset] = [each.dataset for each in run.store.client.get_run(run.run_id).inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == ("window_set", "ab" * 16)
    [output] = run.store.client.get_run(run.run_id).outputs.model_outputs
    assert output.model_id == model.model_id


def test_it_predicts_mv_from_mv_for_any_number_of_windows(model_folder, history_mv, monkeypatch):
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    served = mlflow.pyfunc.load_model(str(model_folder))
    assert served.predict(history_mv)[0].tolist() == EXPECTED_MV
    for n_windows in (1, 5):
        windows = np.repeat(history_mv[:1], n_windows, axis=0)
        assert served.predict(windows).tolist() == [EXPECTED_MV] * n_windows


def test_out_of_distribution_histories_cause_a_warning(forecaster, history_mv):
    config = NoveltyConfig(n_channels=3, context_samples=4, rate_hz=500.0, false_alarms=0.01)
    served = ServedForecaster(replace(forecaster, familiarity=NoveltyDetector(config)))
    with pytest.warns(NoveltyWarning, match=r"100\.0.*level"):
        assert served.predict(history_mv)[0].tolist() == EXPECTED_MV
    served.forecaster.familiarity.limits.fill_(1e6)
    assert served.predict(history_mv)[0].tolist() == EXPECTED_MV


def test_a_model_that_version_0_1_0_logged_still_loads(forecaster, history_mv, tmp_path):
    import mlflow.pyfunc

    forecaster.save(tmp_path / SERVED_FORECASTER_FOLDER)
    (tmp_path / "MLmodel").write_text(MLMODEL_0_1_0)
    assert mlflow.pyfunc.load_model(str(tmp_path)).predict(history_mv)[0].tolist() == EXPECTED_MV


def test_a_model_names_the_loader_that_all_versions_have(model_folder):
    flavor = yaml.safe_load((model_folder / "MLmodel").read_text())["flavors"]["python_function"]
    assert (flavor["loader_module"], flavor["data"]) == ("voltpipe.tracking.served_model", SERVED_FORECASTER_FOLDER)


def test_a_history_of_another_length_is_refused_by_the_signature(model_folder):
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match=r"Shape of input .* does not match"):
        mlflow.pyfunc.load_model(str(model_folder)).predict(np.zeros((1, 5, 3), np.float32))


def test_the_input_example_is_forecast_as_served(model_folder):
    assert served_forecast_mv(model_folder)[0].tolist() == EXPECTED_MV


def test_no_file_of_the_model_can_run_code(model_folder):
    kinds = {path.suffix for path in model_folder.rglob("*") if path.is_file()}
    assert kinds == {"", ".json", ".safetensors", ".txt", ".yaml"}
    assert [path.name for path in model_folder.rglob("*") if path.is_file() and not path.suffix] == ["MLmodel"]


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def test_a_planted_pickle_is_never_executed(model_folder, tmp_path, history_mv):
    import mlflow.pyfunc

    trace = tmp_path / "executed"
    bomb = pickle.dumps(Malicious(str(trace)))
    data = model_folder / SERVED_FORECASTER_FOLDER
    for planted in (model_folder / "python_model.pkl", data / "model.pth", data / "weights.pkl"):
        planted.write_bytes(bomb)
    served = mlflow.pyfunc.load_model(str(model_folder))
    assert served.predict(history_mv).shape == (2, 2, 3)
    (data / "weights.safetensors").write_bytes(bomb)
    with pytest.raises(ForecasterError, match="weights"):
        load_forecaster(str(data))
    assert not trace.exists()


def test_the_same_forecaster_logged_again_is_the_same_model(run, forecaster, history_mv, model):
    assert log_forecaster(run, forecaster, history_mv, {"test/r2/h1": 0.7}, SCORED_ON) == f"models:/{model.model_id}"
    forecaster.module.weights[:] = 0.1
    assert log_forecaster(run, forecaster, history_mv, {"test/r2/h1": 0.1}) != f"models:/{model.model_id}"


def test_a_forecaster_that_forecasts_differently_once_loaded_is_not_logged(run, forecaster, history_mv, monkeypatch):
    load = Forecaster.load

    def forgetful(folder):
        loaded = load(folder)
        loaded.module.weights[:] = 0
        return loaded

    monkeypatch.setattr(Forecaster, "load", forgetful)
    with pytest.raises(TrackingError, match=run.run_id) as refused:
        log_forecaster(run, forecaster, history_mv, {})
    assert refused.value.code == "served-forecasts-differ"
    [failed] = run.store.client.search_logged_models([run.store.experiment_id])
    assert failed.status.name == "FAILED"


def test_mlflow_serves_the_champion_over_http(run, model, history_mv, tmp_path, promote):
    promote(run.store, register(run, f"models:/{model.model_id}", card="", tags={}).version)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/voltage-forecaster@champion"]
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # as in an activated environment
    server = subprocess.Popen(
        [*command, *options],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "MLFLOW_TRACKING_URI": run.store.uri},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for field in ("instances", "inputs"):
            answer = post(f"http://127.0.0.1:{port}/invocations", {field: history_mv.tolist()}, server)
            assert answer["predictions"][0] == EXPECTED_MV
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(10)


def post(url, content, server):
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    for _ in range(300):
        assert server.poll() is None
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.URLError as error:
            if isinstance(error, urllib.error.HTTPError):
                raise
            time.sleep(0.2)
    raise AssertionError("no answer")
