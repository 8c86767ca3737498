"""A forecaster whose roll-outs diverge is scored, registered, promoted or refused, and reported like any other."""

import re
from pathlib import Path

import dagster as dg
import pytest

from voltpipe.forecasting.training.fitting import fit_baselines
from voltpipe.forecasting.training.training_result import FORECASTER_FOLDER
from voltpipe.lake.files import read_json
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.asset_values import RegisteredValue, ReportedValue, TrainedValue, value_path
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.jobs import TRAIN_JOB
from voltpipe.pipeline.launcher import Launcher
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import version_tags
from voltpipe.windows.window_set import WindowSet

POOR_TRAINING = {"architecture": "cnn_lstm", "max_epochs": 1, "windows_per_epoch": 32, "device": "cpu"}
AFTER_TRAINING = (
    "forecast_evaluation",
    "diagnostics",
    "interpretation",
    "evaluation_report",
    "registered_forecaster",
    "champion_forecaster",
)


@pytest.fixture
def diverging(trainable, small_windows):
    """A lake with two held-out recordings, in which the trained forecaster is an unstable linear autoregression."""
    Launcher(trainable).train(split={**small_windows, "test_fraction": 0.34}, training=POOR_TRAINING)
    trained = TrainedValue.model_validate(read_json(value_path(trainable, "trained_forecaster")))
    forecaster = fit_baselines(WindowSet(Path(trained.window_set_folder)))["autoregression"]
    forecaster.module.weights.zero_()
    forecaster.module.weights[:, -1] = 1.5
    forecaster.save(Path(trained.folder) / FORECASTER_FOLDER)
    return trainable


def test_a_diverging_roll_out_does_not_stop_the_evaluation(diverging, instance):
    job = build_definitions(diverging).resolve_job_def(TRAIN_JOB)
    result = job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(name) for name in AFTER_TRAINING], raise_on_error=False
    )
    assert result.success
    checks = {(each.asset_key.to_user_string(), each.check_name): each for each in result.get_asset_check_evaluations()}
    failed = {check for (asset, check), each in checks.items() if asset == "diagnostics" and not each.passed}
    assert {"resemblance", "following"} <= failed
    for name in ("resemblance", "following"):
        check = checks["diagnostics", name]
        assert check.severity is dg.AssetCheckSeverity.WARN
        assert re.search(r"\d+ of \d+ starts", check.metadata["reason"].value)
    assert checks["diagnostics", "robustness"].passed
    assert checks["evaluation_report", "figures"].passed

    registered = RegisteredValue.model_validate(read_json(value_path(diverging, "registered_forecaster")))
    assert registered.version == "2"
    assert version_tags(TrackingStore.of(diverging), "2")["gate.decision"] in ("refused", "promoted")
    reported = ReportedValue.model_validate(read_json(value_path(diverging, "evaluation_report")))
    assert 'data-failed="resemblance following"' in Path(reported.html).read_text()


def test_registration_does_not_wait_for_optional_work(tmp_path):
    graph = build_definitions(Lake(tmp_path / "lake")).resolve_asset_graph()
    needed = graph.get(dg.AssetKey("champion_forecaster")).parent_keys
    seen = set(needed)
    while needed:
        needed = {parent for key in needed for parent in graph.get(key).parent_keys} - seen
        seen |= needed
    assert dg.AssetKey("forecast_evaluation") in seen
    assert not {dg.AssetKey(name) for name in ("diagnostics", "interpretation", "evaluation_report")} & seen


def test_a_registered_value_of_version_0_1_is_read():
    evaluated = {
        "folder": "reports/a",
        "trained": {
            "folder": "checkpoints/a",
            "settings": {},
            "window_set_folder": "windows/a",
            "mlflow_run_id": "m",
            "dagster_run_id": "d",
        },
    }
    old = RegisteredValue.model_validate({"version": "3", "report": {"html": "a.html", "evaluated": evaluated}})
    assert (old.version, old.evaluated.folder) == ("3", "reports/a")
