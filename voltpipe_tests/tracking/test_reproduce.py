"""A registered version is reproduced from its run; obstacles and differences are reported."""

import shutil

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from voltpipe.cli.main import main
from voltpipe.lake.files import file_digest
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.pipeline.progress_listeners import TerminalProgress
from voltpipe.tracking.model_registry import MODEL_NAME, find_version
from voltpipe.tracking.reproduce import ReproductionError
from voltpipe.tracking.reproduce import reproduce as reproduce_version
from voltpipe.tracking.settings import ReproductionSettings
from voltpipe.tracking.training_provenance import ORIGIN_FILE, read_origin


@pytest.fixture(scope="module")
def materialized(materialized_copy):
    return materialized_copy


@pytest.fixture
def lake(materialized, monkeypatch) -> Lake:
    monkeypatch.setenv(LAKE_VARIABLE, str(materialized.lake.root))
    return materialized.lake


@pytest.fixture
def altered(lake):
    """Move a file or folder away during a test, and return its new path."""
    kept = []

    def alter(path):
        kept.append((path, path.with_name(path.name + ".kept")))
        path.rename(kept[-1][1])
        return kept[-1][1]

    yield alter
    for path, former in kept:
        path.unlink(missing_ok=True)
        former.rename(path)


def reproduce(*arguments):
    return CliRunner().invoke(main, ["reproduce", *arguments], catch_exceptions=False)


def test_the_champion_is_reproduced_bit_by_bit_and_nothing_is_left_behind(lake, materialized):
    before = {folder: file_digest(folder) for folder in (lake.windows, lake.checkpoints, lake.reports)}
    result = reproduce("champion")
    assert result.exit_code == 0, result.output
    assert "weights     all " in result.stdout
    assert "numbers are identical" in result.stdout
    assert "every bit" in result.stdout
    assert "tolerance 1e-06" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("is reproduced")
    assert "OTHER" not in result.stdout
    assert {folder: file_digest(folder) for folder in before} == before


def test_decisions_that_depended_on_the_clock_are_logged_with_the_run(materialized):
    origin = read_origin(materialized.store, find_version(materialized.store, "1").run_id)
    assert [(record.windows_seen, record.planned_epochs) for record in origin.epochs] == [(160, 3)] * 3
    assert origin.place.device == "cpu"
    assert origin.place.threads == torch.get_num_threads()


def test_weights_that_differ_from_the_registered_ones_are_reported(lake, materialized, altered):
    version = materialized.store.client.get_model_version(MODEL_NAME, "2")
    place = lake.mlflow / "artifacts" / version.source.partition("/artifacts/")[2]
    weights = place / "data" / "forecaster" / "weights.safetensors"
    former = altered(weights)
    tensors = load_file(former)
    name = max(tensors, key=lambda each: tensors[each].numel())
    tensors[name].view(-1)[0] += 0.5
    save_file(tensors, weights)
    result = reproduce("2")
    assert result.exit_code == 1
    (other,) = (line.split() for line in result.stdout.splitlines() if line.startswith("OTHER weights"))
    assert "0.5" in other
    assert "NOT" in result.stdout.splitlines()[-1]


def test_all_changed_and_missing_recordings_are_named_before_the_training(lake, materialized, altered):
    raw = lake.raw / "slice"
    former = altered(raw / "run_1.npz")
    (raw / "run_1.npz").write_bytes(former.read_bytes() + b"0")
    altered(lake.conditioned / "slice" / "run_4.parquet")
    result = reproduce("1")
    assert result.exit_code == 1
    assert "training" not in result.stdout
    with pytest.raises(ReproductionError, match="2 of 6") as refused:
        list(reproduce_version(lake, materialized.store, "1", ReproductionSettings(), TerminalProgress()))
    assert refused.value.code == "recordings-changed"
    run_1, run_4 = str(refused.value).splitlines()[1:]
    assert "slice--run_1" in run_1
    assert "raw file" in run_1
    assert "slice--run_4" in run_4
    assert "missing" in run_4


def test_conditioned_recordings_suffice_if_a_raw_file_is_missing_or_replaced(lake, altered, materialized):
    altered(lake.raw / "slice" / "run_3.npz")
    key = RecordingKey("slice", "run_1")
    kept = lake.former_path(key, 1)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lake.conditioned_path(key), kept)
    altered(lake.conditioned_path(key))
    altered(lake.raw / "slice" / "run_1.npz")
    (lake.raw / "slice" / "run_1.npz").write_bytes(b"another")
    steps = reproduce_version(lake, materialized.store, "1", ReproductionSettings(), TerminalProgress())
    recordings = next(step for step in steps if step.subject == "recordings")
    kept.unlink()
    assert recordings.found.startswith("6 ")
    assert "slice--run_3" in recordings.found
    assert "run_1" not in recordings.found


def test_a_version_that_is_missing_or_has_no_provenance_is_named(lake, materialized, altered):
    assert " voltage-forecaster/9 " in reproduce("9").stderr
    assert " voltage-forecaster@nobody " in reproduce("nobody").stderr
    run_id = find_version(materialized.store, "2").run_id
    altered(lake.mlflow / "artifacts" / run_id / "artifacts" / ORIGIN_FILE)
    result = reproduce("2")
    assert result.exit_code == 1
    assert run_id in result.stderr
    assert "origin.json" in result.stderr
