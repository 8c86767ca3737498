"""Contents of a run's page in MLflow."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from voltpipe.progress import EpochRecord
from voltpipe.tracking.mlflow_store import TrackingError
from voltpipe.tracking.tracked_run import RunInput
from voltpipe.windows.settings import WindowSettings

EPOCH = EpochRecord(
    epoch=3,
    elapsed_s=12.5,
    train_loss=0.5,
    validation_loss=0.4,
    validation_r2={1: 0.7, 5: 0.2},
    learning_rate=0.004,
    windows_per_s=40.0,
    remaining_s=30.0,
)


def page(run):
    return run.store.client.get_run(run.run_id)


def test_settings_become_parameters_with_readable_values(run):
    run.log_parameters({"windows": WindowSettings(horizons_samples=(1, 5)), "data": {"organoids": ("a", "b")}})
    parameters = page(run).data.params
    assert parameters["windows.context_samples"] == "150"
    assert parameters["windows.horizons_samples"] == "1, 5"
    assert parameters["windows.protocol"] == "held_out"
    assert parameters["data.organoids"] == "a, b"


def test_a_resumed_run_may_log_new_parameters_but_not_change_known_ones(run):
    run.log_parameters({"training": {"seed": 1}})
    run.log_parameters({"training": {"seed": 1, "batch_size": 16}})
    with pytest.raises(TrackingError, match=r"training\.seed was 1, now 2") as refused:
        run.log_parameters({"training": {"seed": 2}})
    assert refused.value.code == "run-settings-changed"
    assert page(run).data.params == {"training.seed": "1", "training.batch_size": "16"}


def test_an_epoch_is_logged_at_its_number_and_training_time(run):
    run.log_epoch(EPOCH)
    assert page(run).data.metrics == {
        "train/loss": 0.5,
        "validation/loss": 0.4,
        "validation/r2/h1": 0.7,
        "validation/r2/h5": 0.2,
        "learning_rate": 0.004,
        "windows_per_s": 40.0,
    }
    [loss] = run.store.client.get_metric_history(run.run_id, "train/loss")
    assert loss.step == 3
    assert loss.timestamp - page(run).info.start_time == 12_500


def test_an_epoch_logged_again_is_one_point_of_the_curve(run):
    run.log_epoch(EPOCH)
    run.log_epoch(EPOCH)
    assert len(run.store.client.get_metric_history(run.run_id, "train/loss")) == 1


def test_recordings_are_inputs_with_digest_and_split(run, tmp_path):
    run.log_inputs(
        [
            RunInput("organoid_1--0", "ab" * 32, "train", tmp_path / "0.parquet"),
            RunInput("organoid_1--2", "cd" * 32, "test", tmp_path / "2.parquet"),
        ]
    )
    inputs = {entry.dataset.name: entry for entry in page(run).inputs.dataset_inputs}
    assert inputs["organoid_1--0"].dataset.digest == "ab" * 16
    assert inputs["organoid_1--2"].tags[0].value == "test"
    assert json.loads(inputs["organoid_1--2"].dataset.source)["uri"] == (tmp_path / "2.parquet").as_uri()


def test_the_environment_is_in_the_tags(run):
    run.log_environment(device="cpu", revision="voltpipe 0.1.0, git 0123456789ab-dirty")
    tags = page(run).data.tags
    assert tags["device"] == "cpu"
    assert tags["revision"] == "voltpipe 0.1.0, git 0123456789ab-dirty"
    assert tags["version.torch"].startswith("2.")


def test_a_note_is_shown_at_the_top_of_the_page(run):
    run.set_note("# Training\n\nof `organoid_1`")
    assert page(run).data.tags["mlflow.note.content"] == "# Training\n\nof `organoid_1`"


def test_an_evaluation_is_logged_with_metrics_and_report(run, evaluation, tmp_path):
    report = tmp_path / "report"
    report.mkdir()
    (report / "report.html").write_text("<h1>ok</h1>")
    run.log_report(evaluation({1: 0.7}).metrics(), report)
    assert page(run).data.metrics["test/r2/h1"] == 0.7
    assert page(run).data.metrics["baseline/persistence/r2/h1"] == 0.6
    copied = Path(run.store.client.download_artifacts(run.run_id, "report/report.html"))
    assert copied.read_text() == "<h1>ok</h1>"


def test_an_evaluation_logged_again_replaces_its_tables(run, evaluation, tmp_path, monkeypatch):
    report = tmp_path / "report"
    report.mkdir()
    for r2 in (0.5, 0.7):
        table = pd.DataFrame({"group": ["<b>n0</b>", "n1"], "r2": [r2, np.nan]})
        table.to_parquet(report / "errors.parquet", index=False)
        run.log_report(evaluation({1: r2}).metrics(), report)
    experiment = page(run).info.experiment_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", run.store.uri)  # where MLflow looks for tables
    loaded = run.store.client.load_table(experiment, "tables/errors.json", run_ids=[run.run_id])
    pd.testing.assert_frame_equal(loaded, table, check_dtype=False)
