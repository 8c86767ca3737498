"""Automatic retraining starts only if there is a recording that the champion has not learned from."""

import shutil

import dagster as dg
import numpy as np
import pytest

from voltpipe.errors import VoltpipeError
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.monitoring.retraining_policy import (
    NewRecording,
    RetrainingPolicy,
    RetrainingReason,
    RetrainingState,
    RetrainingTrigger,
    decide_retraining,
)
from voltpipe.pipeline.assets.monitoring import retraining_policy
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.jobs import CONDITIONED_KEY, INGEST_JOB, TRAIN_JOB
from voltpipe.pipeline.partitions import RECORDINGS
from voltpipe.pipeline.resources import LakeResource, TrackingResource
from voltpipe.pipeline.retraining_requests import POLICY_FILE, read_policy, retraining_state, training_request
from voltpipe.pipeline.schedules import nightly_retraining
from voltpipe.pipeline.sensors import retraining
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.schema import setting_help
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import MODEL_NAME, Alias

DEFAULT, POLICY = ConditioningSettings(), RetrainingPolicy()


@pytest.fixture
def lake(materialized, tmp_path):
    """A copy of the materialized lake: six recordings, all trained on; versions 1 (champion) and 2 (refused)."""
    lake = Lake(tmp_path / "lake")
    for folder in ("conditioned", "history"):
        shutil.copytree(getattr(materialized.lake, folder), getattr(lake, folder))
    lake.dagster.mkdir()
    return lake


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def resources(lake, materialized):
    return {
        "lake": LakeResource(root=str(lake.root)),
        "tracking": TrackingResource(
            folder=str(materialized.lake.mlflow), dagster_url="http://dagster", mlflow_url="http://mlflow"
        ),
    }


@pytest.fixture
def tonight(instance, lake, materialized):
    """Returns the nightly request. It bypasses the schedule, whose context accepts only an instance with a home."""
    return lambda: training_request(instance, lake, materialized.store, at_night=True)


@pytest.fixture
def tick(instance, resources):
    return lambda: retraining(dg.build_sensor_context(instance=instance, resources=resources))


@pytest.fixture
def decided(instance, lake, materialized):
    """Returns the decision behind the sensor's answer."""

    def decided(*, at_night=False):
        policy = read_policy(lake)
        return decide_retraining(
            policy, retraining_state(instance, lake, materialized.store, policy), at_night=at_night
        )

    return decided


@pytest.fixture
def record(lake, put_recording, spiking_mv):
    """Adds a conditioned recording of 6 s, of which 5.2 s are kept."""

    def record(number, **settings):
        put_recording(lake, f"run_{number}", spiking_mv(number))
        return condition_raw(lake, RecordingKey("slice", f"run_{number}"), ConditioningSettings(**settings))

    return record


def skipped(result):
    assert isinstance(result, dg.SkipReason), result
    return result.skip_message


def set_policy(lake, text):
    (lake.dagster / POLICY_FILE).write_text(text)


def end_run(instance, status, job_name=TRAIN_JOB):
    instance.add_run(dg.DagsterRun(job_name=job_name, status=status))


def test_nothing_is_trained_if_nothing_is_new(tick, decided, materialized, resources):
    assert decided().code is RetrainingReason.NOTHING_NEW
    schedule = nightly_retraining(dg.build_schedule_context(instance=materialized.instance, resources=resources))
    assert skipped(tick()) == skipped(schedule)
    assert skipped(tick()).endswith("champion version 1")


def test_the_sensor_counts_new_recordings_and_the_night_trains_on_any(tick, tonight, decided, record):
    record(7)
    record(8)
    assert decided().code is RetrainingReason.NOT_ENOUGH
    assert skipped(tick()) == decided().reason
    for figure in ("2 of 5 ", "0.2 of 30 ", "version 1"):
        assert figure in skipped(tick())
    request = tonight()
    assert request.tags["voltpipe/trigger"] == "night"
    assert decided(at_night=True).code is RetrainingReason.NIGHT
    assert request.tags["voltpipe/reason"] == decided(at_night=True).reason


@pytest.mark.parametrize(
    ("policy", "trigger", "code", "figure"),
    [
        ("min_recordings: 2", "recordings", RetrainingReason.ENOUGH_RECORDINGS, "2 of 2 "),
        ("min_minutes: 0.1", "minutes", RetrainingReason.ENOUGH_MINUTES, "0.2 "),
    ],
)
def test_enough_new_recordings_or_minutes_are_trained_on_at_once(
    lake, tick, decided, record, policy, trigger, code, figure
):
    record(7)
    record(0, trim_ms=400)  # known to the champion, but not like this
    set_policy(lake, policy)
    request = tick()
    assert request.tags["voltpipe/trigger"] == trigger
    assert decided().code is code
    assert request.tags["voltpipe/reason"] == decided().reason
    assert decided().reason.startswith(figure)
    assert request.run_config == {}


def test_a_training_is_requested_with_the_settings_of_the_policy(lake, tick, decided, record):
    record(7)
    set_policy(lake, "min_recordings: 1\norganoid: slice\nrun_config: train.yaml")
    (lake.dagster / "train.yaml").write_text("ops: {trained_forecaster: {config: {budget_s: 900}}}")
    assert tick().run_config["ops"] == {
        "trained_forecaster": {"config": {"budget_s": 900}},
        "recording_split": {"config": {"organoid": "slice"}},
    }
    set_policy(lake, "min_recordings: 1\norganoid: another")
    assert decided().code is RetrainingReason.NOTHING_NEW
    assert skipped(tick())


def test_no_training_is_requested_while_another_is_unfinished(instance, tick, tonight, decided, record):
    for number in range(7, 12):
        record(number)
    assert isinstance(tick(), dg.RunRequest)
    run = dg.DagsterRun(job_name=TRAIN_JOB, status=dg.DagsterRunStatus.NOT_STARTED)
    instance.add_run(run)
    assert decided().code is RetrainingReason.TRAINING_UNDER_WAY
    assert skipped(tick()) == skipped(tonight())
    assert run.run_id[:8] in skipped(tick())


def test_arriving_recordings_delay_a_training_except_at_night(instance, tick, tonight, decided, record):
    for number in range(7, 12):
        record(number)
    end_run(instance, dg.DagsterRunStatus.STARTED, INGEST_JOB)
    assert decided().code is RetrainingReason.RECORDINGS_ARRIVING
    assert skipped(tick()).startswith("5 ")
    assert isinstance(tonight(), dg.RunRequest)


def test_failed_trainings_are_retried_with_growing_delay(lake, instance, tick, decided, record):
    record(7)
    set_policy(lake, "min_recordings: 1")
    end_run(instance, dg.DagsterRunStatus.FAILURE)
    assert decided().code is RetrainingReason.WAITING_AFTER_FAILURE
    assert " 1 h " in skipped(tick())
    end_run(instance, dg.DagsterRunStatus.CANCELED)
    assert " 2 h " in skipped(tick())
    end_run(instance, dg.DagsterRunStatus.SUCCESS)
    assert isinstance(tick(), dg.RunRequest)


def test_recordings_of_a_refused_version_are_new_to_the_champion_but_not_untried(
    materialized, lake, instance, record, tmp_path
):
    store = TrackingStore(tmp_path / "mlflow")
    shutil.copytree(materialized.closed_copy / "mlflow", store.folder)
    store.client.delete_registered_model_alias(MODEL_NAME, Alias.CHAMPION)
    state = retraining_state(instance, lake, store, POLICY)
    assert (state.champion, len(state.new), len(state.untried)) == (None, 6, 0)
    decision = decide_retraining(POLICY, state, at_night=True)
    assert decision.code is RetrainingReason.ALREADY_TRIED
    assert decision.reason.startswith("version 2, refused (")
    assert " 6 new recordings" in decision.reason
    record(7)
    untried = retraining_state(instance, lake, store, POLICY).untried
    assert [(each.key, round(each.minutes * 60, 1)) for each in untried] == [("slice--run_7", 5.2)]


def test_a_quarantined_recording_is_no_reason_to_train(lake, tonight, put_recording, spiking_mv):
    put_recording(lake, "run_8", np.full_like(spiking_mv(8), np.nan))
    condition_raw(lake, RecordingKey("slice", "run_8"), DEFAULT)
    assert isinstance(tonight(), dg.SkipReason)


def test_the_asset_shows_new_recordings_and_whether_a_training_is_due(instance, resources, decided, record):
    record(7)
    record(0, trim_ms=400)
    result = dg.materialize([retraining_policy], instance=instance, resources=resources)
    (materialization,) = result.asset_materializations_for_node("retraining_policy")
    metadata = {name: each.value for name, each in materialization.metadata.items()}
    assert (metadata["due"], metadata["due at night"], metadata["champion"]) == (False, True, "1")
    assert decided().code is RetrainingReason.NOT_ENOUGH
    assert metadata["why not"] == decided().reason
    assert "| slice--run_0 | 0.1 | changed |\n| slice--run_7 | 0.1 | new |" in metadata["what is new"]


def test_the_state_is_updated_only_when_recordings_get_verdicts(lake, instance):
    definitions, cursor, requested = build_definitions(lake), None, []
    instance.add_dynamic_partitions(RECORDINGS.name, ["slice--run_0", "slice--run_1"])
    for judged in ([], ["slice--run_0"], [], ["slice--run_1"], []):
        for key in judged:
            instance.report_runless_asset_event(dg.AssetMaterialization(CONDITIONED_KEY, partition=key))
        result = dg.evaluate_automation_conditions(
            definitions, instance, asset_selection=dg.AssetSelection.assets("retraining_policy"), cursor=cursor
        )
        cursor = result.cursor
        requested.append(result.total_requested)
    assert requested == [0, 1, 0, 1, 0]


def test_the_policy_file_describes_its_settings_and_is_checked(lake, tick):
    assert read_policy(lake) == POLICY
    written = (lake.dagster / POLICY_FILE).read_text()
    for name, field in RetrainingPolicy.model_fields.items():
        assert f"# {setting_help(field)}\n{name}: " in written
    set_policy(lake, "min_recordings: 0")
    with pytest.raises(VoltpipeError, match="min_recordings = 0") as refused:
        tick()
    assert refused.value.code == "settings-out-of-bounds"
    set_policy(lake, "- 5")
    with pytest.raises(VoltpipeError, match=POLICY_FILE) as refused:
        tick()
    assert refused.value.code == "yaml-no-mapping"


def test_decayed_live_skill_is_a_reason_if_there_are_new_recordings():
    new = (NewRecording(key="slice--run_7", minutes=0.1, changed=False),)
    state = RetrainingState(
        champion="1", new=new, untried=new, tried_by=None, training=None, n_arriving=0, failures=None
    )
    decayed = state.model_copy(update={"decayed": ("slice: R2 0.60 on 3 recordings, 0.70 when trained",)})
    decision = decide_retraining(POLICY, decayed)
    assert decision.trigger is RetrainingTrigger.DECAY
    assert decision.code is RetrainingReason.SKILL_DECAYED
    assert decayed.decayed[0] in decision.reason
    assert not decide_retraining(POLICY, state).due
    assert not decide_retraining(RetrainingPolicy(on_decay=False), decayed).due
    assert not decide_retraining(POLICY, decayed.model_copy(update={"new": (), "untried": ()})).due
