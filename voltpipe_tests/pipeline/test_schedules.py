"""Retraining by the clock happens only if there is something new to learn from."""

import shutil

import dagster as dg
import numpy as np
import pytest

from voltpipe.lake import Lake, RecordingKey
from voltpipe.pipeline.resources import LakeResource
from voltpipe.pipeline.schedules import new_recordings, nightly_retraining
from voltpipe.recordings.condition_raw import condition_raw
from voltpipe.recordings.settings import ConditioningSettings

DEFAULT = ConditioningSettings()


@pytest.fixture
def lake(materialized, tmp_path):
    """As the materialized lake, whose recordings have all been trained on."""
    lake = Lake(tmp_path / "lake")
    for folder in ("raw", "conditioned", "windows"):
        shutil.copytree(getattr(materialized.lake, folder), getattr(lake, folder))
    return lake


def tonight(lake):
    context = dg.build_schedule_context(resources={"lake": LakeResource(root=str(lake.root))})
    return nightly_retraining(context)


def test_nothing_is_trained_where_nothing_is_new(lake):
    skipped = tonight(lake)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "no recording came or changed since the last training"


def test_nothing_is_trained_in_an_empty_lake(tmp_path):
    assert isinstance(tonight(Lake(tmp_path / "lake")), dg.SkipReason)


def test_a_new_recording_is_a_reason_to_train(lake, put_recording, spiking_mv):
    put_recording(lake, "run_7", spiking_mv(7))
    condition_raw(lake, RecordingKey("slice", "run_7"), DEFAULT)
    assert new_recordings(lake) == ["slice--run_7"]
    assert tonight(lake).tags["voltpipe/reason"] == "1 new or changed recordings"


def test_so_is_one_that_was_conditioned_otherwise(lake):
    condition_raw(lake, RecordingKey("slice", "run_0"), ConditioningSettings(trim_ms=400))
    assert new_recordings(lake) == ["slice--run_0"]


def test_one_that_came_into_quarantine_is_none(lake, put_recording, spiking_mv):
    put_recording(lake, "run_8", np.full_like(spiking_mv(8), np.nan))
    condition_raw(lake, RecordingKey("slice", "run_8"), DEFAULT)
    assert isinstance(tonight(lake), dg.SkipReason)


def test_before_the_first_training_every_recording_is_new(lake):
    shutil.rmtree(lake.windows)
    assert tonight(lake).tags["voltpipe/reason"] == "6 new or changed recordings"
