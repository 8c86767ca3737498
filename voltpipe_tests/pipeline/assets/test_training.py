"""The checkpoints from which a training resumes."""

import pytest

from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.forecasting.training.training_result import FORECASTER_FOLDER
from voltpipe.lake.paths import Lake
from voltpipe.pipeline.assets.training import training_folder

SETTINGS = TrainingSettings()


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def begin(lake, run_id, settings=SETTINGS, digest="d1"):
    folder = training_folder(lake, digest, settings, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def finish(folder):
    (folder / FORECASTER_FOLDER).mkdir()


def test_a_run_and_its_retries_share_a_folder(lake):
    folder = begin(lake, "aaaaaaaa-1")
    assert begin(lake, "aaaaaaaa-1") == folder
    finish(folder)
    assert begin(lake, "aaaaaaaa-1") == folder


def test_the_folder_is_named_after_the_architecture(lake):
    folder = begin(lake, "aaaaaaaa-1")
    assert folder.parent == lake.checkpoints
    assert folder.name.startswith("coupled_cnn_lstm-")
    assert folder.name.endswith("-aaaaaaaa")


def test_another_run_resumes_an_unfinished_training(lake):
    left = begin(lake, "aaaaaaaa-1")
    assert begin(lake, "bbbbbbbb-2") == left


def test_a_run_after_a_finished_training_starts_its_own(lake):
    finish(begin(lake, "aaaaaaaa-1"))
    assert begin(lake, "bbbbbbbb-2").name.endswith("-bbbbbbbb")


@pytest.mark.parametrize(
    ("settings", "digest"), [(TrainingSettings(seed=1), "d1"), (TrainingSettings(budget_s=60), "d1"), (SETTINGS, "d2")]
)
def test_other_settings_or_data_get_another_folder(lake, settings, digest):
    left = begin(lake, "aaaaaaaa-1")
    assert begin(lake, "bbbbbbbb-2", settings, digest) != left
