"""Live skill of the champion on later recordings, on a copy of a lake with a champion."""

import shutil

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from voltpipe.lake.files import read_json
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.monitoring.live_skill import (
    DECAYS_FILE,
    SCORES_FILE,
    decayed_organoids,
    mean_r2,
    read_live_skill,
    update_live_skill,
)
from voltpipe.monitoring.retraining_policy import RetrainingPolicy, RetrainingTrigger, decide_retraining
from voltpipe.monitoring.settings import LiveSkillSettings
from voltpipe.monitoring.skill_decay import DecayCode
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.retraining_requests import retraining_state
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.settings import ConditioningSettings, QualitySettings
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import MODEL_NAME

SETTINGS = LiveSkillSettings(every_samples=5, decay_bound=0.1)
KEY = dg.AssetKey("live_skill")


@pytest.fixture
def lake(tmp_path, materialized):
    lake = Lake(tmp_path / "lake")
    for folder in ("conditioned", "history", "windows", "mlflow"):
        shutil.copytree(materialized.closed_copy / folder, lake.root / folder)
    return lake


@pytest.fixture
def arrive(lake, put_recording):
    def arrive(name, voltage_mv, organoid="slice"):
        put_recording(lake, name, voltage_mv, organoid)
        assert condition_raw(lake, RecordingKey(organoid, name), ConditioningSettings(), QualitySettings()).path

    return arrive


def noise_mv(seed):
    return np.random.default_rng(seed).normal(-60, 5, (1500, 6)).astype(np.float32)


def test_each_new_recording_is_scored_once_with_the_baselines_and_decay_is_detected(lake, arrive, spiking_mv):
    store = TrackingStore(lake.mlflow)
    nothing = update_live_skill(lake, store, SETTINGS)
    assert (nothing.version, len(nothing.scores), nothing.decays) == ("1", 0, ())
    assert nothing.expected_r2["slice"] == pytest.approx(0.56, abs=0.05)

    for number in (10, 11, 12):
        arrive(f"run_{number}", spiking_mv(number))
    arrive("elsewhere", spiking_mv(13), organoid="other")
    healthy = update_live_skill(lake, store, SETTINGS)
    scored = mean_r2(healthy.scores, "1")
    assert sorted(scored.index) == ["other--elsewhere", *(f"slice--run_{number}" for number in (10, 11, 12))]
    assert (scored["slice--run_10"] > mean_r2(healthy.scores, "1", "persistence")["slice--run_10"]).all()
    assert scored["slice--run_10"] == pytest.approx(mean_r2(healthy.scores, "1", "look_up")["slice--run_10"], abs=0.1)
    (slice_alone,) = healthy.decays
    assert (slice_alone.organoid, slice_alone.code) == ("slice", DecayCode.SKILL_HOLDS)
    assert not healthy.drift["drifted"].any()
    assert decayed_organoids(lake, "1") == ()
    assert update_live_skill(lake, store, SETTINGS).scores.equals(healthy.scores)

    for number in (20, 21, 22):
        arrive(f"run_{number}", noise_mv(number))
    (lake.conditioned / "slice" / "run_23.parquet").write_bytes(b"torn")
    found = update_live_skill(lake, store, SETTINGS)
    assert found.decays[0].code is DecayCode.SKILL_DECAYED
    assert "run_23.parquet is damaged" in found.refused["slice--run_23"]
    assert found.drift.set_index("recording")["drifted"].loc["slice--run_20":].all()
    tidy = pd.read_parquet(lake.live_skill / SCORES_FILE)
    assert len(tidy) == 7 * 3 * 3  # recordings, forecasters, horizons
    assert read_live_skill(lake, store, SETTINGS).decays == found.decays
    assert decayed_organoids(lake, "1") == (found.decays[0].reason,)
    (stored,) = read_json(lake.live_skill / DECAYS_FILE)["decays"]
    assert (stored["code"], stored["organoid"], stored["decayed"]) == ("skill-decayed", "slice", True)
    assert decayed_organoids(lake, "2") == ()
    with dg.DagsterInstance.ephemeral() as instance:
        state = retraining_state(instance, lake, store, RetrainingPolicy())
    assert decide_retraining(RetrainingPolicy(min_recordings=99), state).trigger is RetrainingTrigger.DECAY


def test_decay_is_a_warning_that_fails_no_run_and_the_asset_shows_the_figure(lake, arrive):
    for number in (20, 21, 22):
        arrive(f"run_{number}", noise_mv(number))
    job = build_definitions(lake).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, asset_selection=[KEY])
    assert result.success
    checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert {name: (each.passed, each.severity) for name, each in checks.items()} == {
        "skill_holds": (False, dg.AssetCheckSeverity.WARN),
        "no_drift": (False, dg.AssetCheckSeverity.WARN),
    }
    assert "0.02" in checks["skill_holds"].metadata["decayed"].value
    assert checks["no_drift"].metadata["drifted"].value == "slice--run_20, slice--run_21, slice--run_22"
    (materialization,) = result.asset_materializations_for_node("live_skill")
    assert materialization.metadata["over time"].value.startswith("![live skill](data:image/png")
    assert materialization.metadata["champion"].value == "1"
    assert materialization.metadata["recordings scored"].value == 3


def test_without_a_champion_nothing_is_scored(lake, arrive, spiking_mv):
    arrive("run_10", spiking_mv(10))
    store = TrackingStore(lake.mlflow)
    for version in ("1", "2"):
        store.client.delete_model_version(MODEL_NAME, version)
    found = update_live_skill(lake, store, SETTINGS)
    assert (found.version, len(found.scores)) == (None, 0)
