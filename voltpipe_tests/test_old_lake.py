"""The present code reads a lake, a forecaster folder and an MLflow model of version 0.1.0."""

import json

import numpy as np
import pytest

import voltpipe
from voltpipe.evaluation.results import EVALUATION_FILE, Evaluation
from voltpipe.lake.files import file_digest, read_json
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE
from voltpipe.recordings.raw.arrivals import find_arrivals
from voltpipe.recordings.raw.recording_records import catalogue, read_history
from voltpipe.recordings.store.conditioned_recording import open_conditioned
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import champion
from voltpipe.windows.build_window_set import build_window_set, window_set_folder
from voltpipe.windows.split_manifest import SplitManifest
from voltpipe.windows.splits import Role, Split
from voltpipe.windows.window_set import WindowSet

TOLERANCE = 1e-5
"""Relative tolerance. Adjacent float32 values near -60 mV differ by 4e-6 mV, and processors round differently."""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory, unpack_old_lake):
    return unpack_old_lake(tmp_path_factory.mktemp("old_lake"))


@pytest.fixture(scope="module")
def expected(unpacked):
    """Samples and forecasts of version 0.1.0."""
    with np.load(unpacked.root / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def expected_verdicts(unpacked):
    return json.loads((unpacked.root / "expected.json").read_text())


def assert_forecasts(forecast_mv, expected_mv):
    np.testing.assert_allclose(forecast_mv, expected_mv, rtol=TOLERANCE)


def test_the_recordings_are_listed_with_their_verdicts_and_versions(unpacked, expected_verdicts):
    entries = {str(entry.key): entry for entry in catalogue(unpacked)}
    assert {
        key: {
            "standing": entry.standing.value,
            "reason": entry.reason,
            "doubts": [doubt.name for doubt in entry.doubts],
            "duration_s": entry.seen.duration_s,
            "versions": [each.model_dump(mode="json") for each in read_history(unpacked, entry.key).versions],
        }
        for key, entry in entries.items()
    } == expected_verdicts
    assert entries["slice--run_broken"].standing == "quarantined"
    assert [len(each["versions"]) for each in expected_verdicts.values()] == [1, 2, 1, 1, 1]


def test_no_recording_is_conditioned_again(unpacked):
    assert find_arrivals(unpacked).n_known == 5
    assert find_arrivals(unpacked).ready == {}


def test_conditioned_recordings_are_opened_with_their_former_versions(unpacked, expected):
    recording = open_conditioned(unpacked.conditioned_path(RecordingKey("slice", "run_0")))
    np.testing.assert_allclose(recording.read_mv(0, recording.n_samples), expected["conditioned_mv"], rtol=TOLERANCE)
    with_sidecar = open_conditioned(unpacked.conditioned_path(RecordingKey("slice", "run_3")))
    assert with_sidecar.facts["condition"] == "baseline"
    changed = RecordingKey("slice", "run_1")
    former, present = read_history(unpacked, changed).versions
    assert open_conditioned(unpacked.former_path(changed, 1)).digest == former.digest
    assert open_conditioned(unpacked.conditioned_path(changed)).digest == present.digest


def test_the_split_and_its_window_set_are_opened(unpacked, expected):
    split = SplitManifest.load(unpacked.windows)
    assert split.of_role(Role.TEST) == ("slice--run_2",)
    windows = WindowSet(window_set_folder(unpacked.windows, split))
    assert windows.digest == split.digest
    assert [recording.condition for recording in windows.recordings] == [None, None, None, "baseline"]
    assert [len(windows.windows(each)) for each in (Split.TRAIN, Split.TEST)] == [339, 80]
    np.testing.assert_allclose(windows.batch([0, 40, 80]).history_mv().numpy(), expected["history_mv"], rtol=TOLERANCE)


def test_a_window_set_is_written_as_by_version_0_1_0(unpacked, tmp_path):
    split = SplitManifest.load(unpacked.windows)
    keys = [RecordingKey.parse(recording.key) for recording in split.recordings]
    recordings = {str(key): open_conditioned(unpacked.conditioned_path(key)) for key in keys}
    former, written = window_set_folder(unpacked.windows, split), tmp_path / "set"
    build_window_set(written, split, recordings)
    assert read_json(written / "manifest.json") == read_json(former / "manifest.json") | {"format_version": 1}
    for name in ("samples.npy", "index.npy", "recording_split.json"):
        assert file_digest(written / name) == file_digest(former / name)


@pytest.mark.parametrize("pattern", ["coupled_cnn_lstm-*/forecaster", "cnn_lstm"])
def test_a_forecaster_folder_gives_the_same_forecasts(unpacked, expected, pattern):
    (folder,) = unpacked.checkpoints.glob(pattern)
    forecaster = voltpipe.load_forecaster(str(folder))
    expected_mv = expected["cnn_lstm_mv" if pattern == "cnn_lstm" else "champion_mv"]
    assert_forecasts(forecaster.predict_mv(expected["history_mv"]), expected_mv)


def test_the_champion_of_a_moved_lake_is_loaded(unpacked, expected, monkeypatch):
    monkeypatch.setenv(LAKE_VARIABLE, str(unpacked.root))
    forecaster = voltpipe.load_forecaster("voltage-forecaster@champion")
    assert_forecasts(forecaster.predict_mv(expected["history_mv"]), expected["champion_mv"])


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own warning on import
def test_the_registered_model_is_served_by_mlflow(unpacked, expected):
    import mlflow.pyfunc

    store = TrackingStore(unpacked.mlflow)
    version = store.client.get_model_version("voltage-forecaster", champion(store).version)
    assert version.source.startswith(unpacked.mlflow.as_uri())
    served = mlflow.pyfunc.load_model(version.source)
    assert_forecasts(served.predict(expected["history_mv"]), expected["champion_mv"])


def test_the_metrics_of_the_report_are_read(unpacked):
    (path,) = unpacked.reports.glob(f"*/{EVALUATION_FILE}")
    evaluation = Evaluation.read(path)
    assert evaluation.forecaster == "coupled_cnn_lstm"
    assert evaluation.provenance.recordings[Split.TEST] == ("slice--run_2",)
