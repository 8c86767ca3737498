"""The whole graph on a tiny preparation with real stores: the files in the lake and the metadata in the UI."""

import re

import dagster as dg
import numpy as np
import pandas as pd
import pytest

import voltpipe
from voltpipe.cli.train_and_register import run_summary
from voltpipe.evaluation.diagnostics.diagnostics import Diagnostics
from voltpipe.evaluation.interpretation.interpretation import Interpretation
from voltpipe.lake.files import read_json
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.asset_values import (
    STAGE_FOLDERS,
    JsonIOManager,
    PromotionValue,
    RegisteredValue,
    ReportedValue,
    value_path,
)
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.runs import DAGSTER_LINK_TAG, DAGSTER_RUN_TAG, MLFLOW_RUN_TAG
from voltpipe.recordings.raw.recording_records import read_quarantine
from voltpipe.recordings.store.conditioned_recording import conditioned_recordings
from voltpipe.tracking.model_registry import MODEL_NAME, champion, version_tags
from voltpipe.windows.split_manifest import SplitManifest
from voltpipe.windows.splits import Role

GOOD = [f"slice--run_{number}" for number in range(6)]
BROKEN = RecordingKey("slice", "run_broken")
PICKLED = re.compile(rb"\x80[\x02-\x05](?:c|\x95|}|]|\()", re.DOTALL)


def test_every_run_succeeded(materialized):
    runs = (materialized.ingest_run, materialized.good_run, materialized.poor_run)
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS] * 3


def test_values_pass_from_asset_to_asset_as_json(materialized):
    for asset in STAGE_FOLDERS.keys() - {"found_settings"}:  # no training job runs a search
        assert read_json(value_path(materialized.lake, asset))
    decided = PromotionValue.model_validate(read_json(value_path(materialized.lake, "champion_forecaster")))
    newest = RegisteredValue.model_validate(read_json(value_path(materialized.lake, "registered_forecaster")))
    assert (decided.candidate, decided.promoted, decided.champion) == ("2", False, "1")
    assert newest.version == "2"


def test_a_run_summary_is_of_that_run_even_after_a_later_one(materialized):
    for run, version, decision in ((materialized.good_run, "1", "promoted"), (materialized.poor_run, "2", "refused")):
        summary = run_summary(materialized.lake, run.run_id)
        assert f"{MODEL_NAME} version {version} is {decision}" in summary
        html = ReportedValue.model_validate(
            read_json(value_path(materialized.lake, "evaluation_report", run_id=run.run_id))
        ).html
        assert html in summary


def test_the_value_that_version_0_1_wrote_is_read(materialized):
    value = read_json(value_path(materialized.lake, "registered_forecaster"))
    former = {"version": value["version"], "report": {"html": "report.html", "evaluated": value["evaluated"]}}
    assert RegisteredValue.model_validate(former) == RegisteredValue.model_validate(value)


def test_a_value_of_another_version_of_voltpipe_is_refused_with_its_path(tmp_path):
    lake = Lake(tmp_path / "lake")
    path = value_path(lake, "registered_forecaster")
    path.parent.mkdir(parents=True)
    path.write_text('{"version": "1"}')

    @dg.asset
    def takes(registered_forecaster: RegisteredValue) -> None:
        raise AssertionError

    registered = dg.AssetSpec("registered_forecaster")
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [registered, takes],
            instance=instance,
            resources={"io_manager": JsonIOManager(root=str(lake.root))},
            raise_on_error=False,
        )
        (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert str(path) in failure.step_failure_data.error_display_string


def test_nothing_in_the_lake_is_pickled(materialized):
    files = [path for path in materialized.lake.root.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".joblib")] == []
    assert [path for path in files if PICKLED.match(path.read_bytes()[:3])] == []


def test_nothing_is_written_outside_the_lake(materialized):
    assert list(materialized.working_directory.iterdir()) == []
    assert {path.name for path in materialized.lake.root.iterdir()} == {
        *("raw", "conditioned", "quarantine", "history", "windows", "checkpoints", "reports", "mlflow", "dagster")
    }


def test_no_half_written_file_is_left(materialized):
    assert list(materialized.lake.root.rglob("*.partial")) == []


def test_a_bad_recording_is_quarantined_and_does_not_stop_the_run(materialized):
    (key, entry), *others = read_quarantine(materialized.lake).items()
    assert (key, others) == (BROKEN, [])
    assert all(fact in entry.reason for fact in ("finite: 1 ", "2.8 s", "channel_2"))
    assert list(conditioned_recordings(materialized.lake)) == GOOD
    manifest = SplitManifest.load(materialized.lake.windows)
    assert [recording.key for recording in manifest.recordings] == GOOD
    assert manifest.of_role(Role.TEST) == ("slice--run_2",)


def test_the_check_is_red_and_names_the_recording_and_the_reason(materialized):
    checks = materialized.checks(materialized.ingest_run)
    finite = checks.pop("finite")
    assert (finite.passed, finite.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert finite.metadata["quarantined"].value.keys() == {str(BROKEN)}
    assert "channel_2" in finite.metadata["quarantined"].value[str(BROKEN)]
    assert finite.metadata["figures"].value[GOOD[0]] == {"samples_not_finite": 0, "channels_not_finite": 0}
    assert [name for name, check in checks.items() if not check.passed] == []


def test_each_partition_shows_its_verdict_and_statistics(materialized):
    def latest(partition):
        request = dg.AssetRecordsFilter(asset_key=dg.AssetKey("conditioned_recording"), asset_partitions=[partition])
        (record,) = materialized.instance.fetch_materializations(request, limit=1).records
        return {name: value.value for name, value in record.asset_materialization.metadata.items()}

    good, bad = latest(GOOD[0]), latest(str(BROKEN))
    assert (good["verdict"], bad["verdict"]) == ("conditioned", "quarantined")
    assert (good["channels"], good["rate_hz"], good["samples"], good["duration_s"]) == (6, 250.0, 1300, 5.2)
    assert "NaN" in bad["reason"]
    assert "samples" not in bad


@pytest.mark.parametrize("partition", [GOOD[0], str(BROKEN)])
def test_the_preview_of_a_recording_is_a_file_and_its_event_stays_small(materialized, partition):
    request = dg.AssetRecordsFilter(asset_key=dg.AssetKey("conditioned_recording"), asset_partitions=[partition])
    (record,) = materialized.instance.fetch_materializations(request, limit=1).records
    shown = record.asset_materialization.metadata
    preview = materialized.lake.preview_path(RecordingKey.parse(partition))
    assert shown["preview"].value == str(preview)
    assert preview.read_bytes().startswith(b"\x89PNG")
    assert shown["voltage"].value.startswith("![voltage](data:image/png;base64,")
    assert len(dg.serialize_value(record.event_log_entry)) < 10_000 < preview.stat().st_size


def test_no_check_of_the_windows_or_the_training_fails(materialized):
    checks = materialized.checks(materialized.good_run)
    for name in ("no_sample_in_two_splits", "no_window_over_a_border", "finite_weights", "serves", "beats_baselines"):
        assert checks[name].passed


def test_the_asset_shows_the_scores_with_all_baselines(materialized):
    metadata = {name: each.value for name, each in materialized.latest("forecast_evaluation").metadata.items()}
    assert "test/r2/h1" in metadata
    for name in ("persistence", "autoregression", "look_up", "vector_autoregression"):
        assert f"baseline/{name}/r2/h1" in metadata
        assert f"time/baseline/{name}/r2/h1" in metadata


def test_the_report_is_one_page_that_contains_its_figures(materialized):
    metadata = materialized.latest("evaluation_report").metadata
    link = metadata["report"].value
    assert link.startswith("http://127.0.0.1:5000/#/experiments/")
    assert f"/runs/{materialized.poor_run.tags[MLFLOW_RUN_TAG]}/artifacts/report/report.html" in link
    pictures = [name for name, each in metadata.items() if str(each.value).startswith("![")]
    assert {"r2_by_horizon", "learning_curve", "forecast_against_truth"} <= set(pictures)
    for run in (materialized.good_run, materialized.poor_run):
        mlflow_run = materialized.store.client.get_run(run.tags[MLFLOW_RUN_TAG])
        assert mlflow_run.data.metrics["test/r2/h1"] is not None
    (page, *_) = materialized.lake.reports.glob("coupled_cnn_lstm-*/*.html")
    html = page.read_text()
    assert "held-out recordings" in html
    markup = re.sub(r"<script([^>]*)>.*?</script>", r"<script\1>", html, flags=re.DOTALL)
    assert not re.search(r"""<(script|img|link|iframe)\b[^>]*(src|href)=["']?(?!data:)""", markup)
    assert len(html) < 5_000_000


def test_connectivity_is_shown_on_the_assets_and_kept_as_an_artifact(materialized):
    # The six neurons of the tiny preparation do not hear each other, and the second forecaster does not ask.
    for run, n_pairs in ((materialized.good_run, 30), (materialized.poor_run, 0)):
        mlflow_run_id = run.tags[MLFLOW_RUN_TAG]
        table = pd.read_parquet(
            materialized.store.client.download_artifacts(mlflow_run_id, "report/connectivity.parquet")
        )
        assert len(table) == n_pairs
        assert not (table["probability"] > 0.5).any()
    metrics = materialized.store.client.get_run(materialized.good_run.tags[MLFLOW_RUN_TAG]).data.metrics
    assert metrics["connectivity/connections"] == 0
    for asset in ("interpretation", "evaluation_report"):
        said = str(materialized.latest(asset).metadata["who drives whom"].value)
        assert "CNN-LSTM" in said
        assert "|" not in said  # no table of connections


@pytest.fixture(params=["good_run", "poor_run"])
def both_runs(request, materialized):
    """A Dagster run and the MLflow run of its training."""
    dagster_run = getattr(materialized, request.param)
    return dagster_run, materialized.store.client.get_run(dagster_run.tags[MLFLOW_RUN_TAG])


def test_the_mlflow_run_is_finished_and_the_runs_link_to_each_other(both_runs):
    dagster_run, mlflow_run = both_runs
    assert mlflow_run.info.status == "FINISHED"
    assert mlflow_run.data.tags[DAGSTER_RUN_TAG] == dagster_run.run_id
    assert mlflow_run.data.tags[DAGSTER_LINK_TAG] == f"http://127.0.0.1:3000/runs/{dagster_run.run_id}"


def test_the_training_asset_links_to_its_mlflow_run(materialized):
    link = materialized.latest("trained_forecaster").metadata["MLflow run"].value
    assert link.startswith("http://127.0.0.1:5000/#/experiments/")
    assert f"/runs/{materialized.poor_run.tags[MLFLOW_RUN_TAG]}" in link


def test_the_mlflow_run_holds_settings_metrics_by_epoch_environment_and_inputs(materialized):
    client, run_id = materialized.store.client, materialized.good_run.tags[MLFLOW_RUN_TAG]
    run = client.get_run(run_id)
    assert run.data.params["training.architecture"] == "coupled_cnn_lstm"
    assert run.data.params["training.max_epochs"] == "3"
    assert run.data.params["windows.context_samples"] == "30"
    assert [metric.step for metric in client.get_metric_history(run_id, "validation/loss")] == [1, 2, 3]
    assert {"device", "revision", "version.torch"} <= run.data.tags.keys()
    inputs = {each.dataset.name: each.tags[0].value for each in run.inputs.dataset_inputs}
    manifest = SplitManifest.load(materialized.lake.windows)
    assert inputs.pop("window_set") == "evaluation"
    assert inputs == {recording.key: recording.role.value for recording in manifest.recordings}
    artifacts = {artifact.path for artifact in client.list_artifacts(run_id, "report")}
    assert "report/metrics.json" in artifacts
    assert any(path.endswith(".html") for path in artifacts)


def test_progress_is_shown_on_the_dagster_run(materialized):
    assert materialized.good_run.tags["voltpipe/progress"].startswith("diagnosed: ")
    observations = [
        record.event_log_entry.dagster_event.event_specific_data.asset_observation
        for record in materialized.instance.get_records_for_run(materialized.good_run.run_id).records
        if record.event_log_entry.dagster_event_type is dg.DagsterEventType.ASSET_OBSERVATION
    ]
    trained = [each for each in observations if each.asset_key == dg.AssetKey("trained_forecaster")]
    evaluated = [each for each in observations if each.asset_key == dg.AssetKey("forecast_evaluation")]
    assert [each.metadata["epoch"].value for each in trained] == [1, 2, 3]
    diagnosed = [each for each in observations if each.asset_key == dg.AssetKey("diagnostics")]
    scored = [each.metadata["done"].value for each in evaluated]
    assert scored == ["scored recordings (test): 1", "scored recordings (time): 4"]
    assert [each.metadata["done"].value for each in diagnosed] == ["diagnosed: 7"]


def test_the_first_version_that_beats_the_baselines_becomes_champion(materialized):
    version = materialized.store.client.get_model_version(MODEL_NAME, "1")
    assert champion(materialized.store).version == "1"
    assert version.run_id == materialized.good_run.tags[MLFLOW_RUN_TAG]
    assert version.tags["gate.decision"] == "promoted"
    assert version.tags[DAGSTER_RUN_TAG] == materialized.good_run.run_id
    assert version.tags["architecture"] == "coupled_cnn_lstm"


def test_a_version_has_its_model_card(materialized):
    card = materialized.store.client.get_model_version(MODEL_NAME, "1").description
    for expected in ("slice", "persistence", materialized.good_run.run_id, materialized.good_run.tags[MLFLOW_RUN_TAG]):
        assert expected in card


def test_a_worse_forecaster_is_refused_without_failing(materialized):
    version = materialized.store.client.get_model_version(MODEL_NAME, "2")
    assert version.aliases == ["challenger"]
    assert version.tags["gate.decision"] == "refused"
    assert all(fact in version.tags["gate.reason"] for fact in ("persistence", "8 ms, 20 ms"))
    checks = materialized.checks(materialized.poor_run)
    for name in ("beats_baselines", "beats_champion"):
        assert (checks[name].passed, checks[name].severity) == (False, dg.AssetCheckSeverity.WARN)
        assert checks[name].metadata["reason"].value == version_tags(materialized.store, "2")["gate.reason"]
    metadata = {name: each.value for name, each in materialized.latest("champion_forecaster").metadata.items()}
    assert (metadata["version"], metadata["decision"], metadata["champion"]) == ("2", "refused", "1")
    assert champion(materialized.store).version == "1"


def test_each_evaluation_is_checked_and_diagnosed(materialized):
    for run in (materialized.good_run, materialized.poor_run):
        checks = materialized.checks(run)
        for name in ("leak_probe", "other_moments", "time_reversal"):
            assert "R2" in checks[name].metadata["finding"].value
        assert checks["leak_probe"].passed
        assert "random weights" in checks["attribution_sanity"].metadata["finding"].value
    pages = list(materialized.lake.reports.glob("*/report.html"))
    assert len(pages) == 2
    for page in pages:
        assert "look_up" in set(Diagnostics.read(page.parent).errors_by_group.forecaster)
        assert 'id="errors"' in page.read_text()
        assert Interpretation.read(page.parent).asked
        assert 'id="interpretation"' in page.read_text()


def test_the_champion_forecasts_from_a_notebook(materialized, monkeypatch, spiking_mv):
    monkeypatch.setenv(LAKE_VARIABLE, str(materialized.lake.root))
    forecaster = voltpipe.load_forecaster("voltage-forecaster@champion")
    history_mv = spiking_mv(2)[:400]
    ahead_mv = np.stack([forecaster.predict_mv(history_mv[stop - 30 : stop])[0] for stop in range(100, 399)])
    error = np.mean((ahead_mv - history_mv[100:399]) ** 2)
    assert error < 0.6 * np.var(history_mv[100:399])


def test_the_lake_report_is_written_with_the_training_job(materialized):
    metadata = materialized.latest("lake_report").metadata
    assert (metadata["recordings"].value, metadata["quarantined"].value, metadata["organoids"].value) == (7, 1, 1)
    assert metadata["quarantined_because"].value.keys() == {str(BROKEN)}
    assert str(metadata["quality"].value).startswith("![quality](data:image/png;base64,")
    page = (materialized.lake.reports / "lake.html").read_text()
    assert metadata["page"].value == str(materialized.lake.reports / "lake.html")
    for key in (*GOOD, str(BROKEN)):
        assert f'<th scope="row">{RecordingKey.parse(key).recording}</th>' in page
    assert '<tr><th scope="row">test</th><td>1</td>' in page  # as the split of the last training has it


def test_the_lake_report_is_rewritten_once_when_recordings_get_verdicts(tmp_path):
    lake = Lake(tmp_path / "lake")
    definitions = build_definitions(lake)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("recordings", ["slice--a", "slice--b", "slice--never"])

        def ticked(cursor=None):
            page = dg.AssetSelection.assets("lake_report")
            return dg.evaluate_automation_conditions(definitions, instance, page, cursor=cursor)

        tick = ticked()
        assert tick.total_requested == 0
        for partition in ("slice--a", "slice--b"):
            instance.report_runless_asset_event(dg.AssetMaterialization("conditioned_recording", partition=partition))
        tick = ticked(tick.cursor)
        assert tick.get_requested_partitions(dg.AssetKey("lake_report")) == {None}
        tick = ticked(tick.cursor)
        assert tick.total_requested == 0
        instance.report_runless_asset_event(dg.AssetMaterialization("recording_split"))
        tick = ticked(tick.cursor)
        assert tick.total_requested == 1
