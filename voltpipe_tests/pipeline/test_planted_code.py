"""Code planted in any file that is loaded is refused and never executed."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from voltpipe.evaluation.figure_data_file import read_figure_data
from voltpipe.evaluation.results import Evaluation
from voltpipe.forecasting.training.checkpoint import read_state
from voltpipe.forecasting.training.training_result import read_result
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.recording_records import read_quarantine
from voltpipe.recordings.raw.sidecar import read_hints
from voltpipe.recordings.store.conditioned_recording import open_conditioned
from voltpipe.tracking.mlflow_store import TrackingStore
from voltpipe.tracking.model_registry import MODEL_NAME, load_forecaster
from voltpipe.tracking.training_provenance import read_origin
from voltpipe.windows.split_manifest import SplitManifest
from voltpipe.windows.window_set import WindowSet

ARTIFACTS = "mlflow/artifacts"


def champion(path: Path, lake: Lake) -> object:
    store = TrackingStore(lake.mlflow)
    version = next(v for v in store.client.search_model_versions() if path.parts[-5] in v.source)
    return load_forecaster(f"{MODEL_NAME}/{version.version}", store)


PLACES = {
    "raw/slice/run_0.npz": lambda path, lake: open_recording(path),
    "raw/slice/run_0.yaml": lambda path, lake: read_hints(path.with_suffix(".npz")),
    "conditioned/slice/run_0.parquet": lambda path, lake: open_conditioned(path),
    "windows/recording_split.json": lambda path, lake: SplitManifest.load(lake.windows),
    "windows/set-*/samples.npy": lambda path, lake: WindowSet(path.parent),
    "windows/set-*/index.npy": lambda path, lake: WindowSet(path.parent),
    "windows/set-*/manifest.json": lambda path, lake: WindowSet(path.parent),
    "checkpoints/*/epoch-*/state.json": lambda path, lake: read_state(path.parents[1]),
    "checkpoints/*/forecaster/weights.safetensors": lambda path, lake: read_result(path.parents[1]),
    "checkpoints/*/forecaster/forecaster.json": lambda path, lake: read_result(path.parents[1]),
    "reports/*/metrics.json": lambda path, lake: Evaluation.read(path),
    "reports/*/detail.npz": lambda path, lake: read_figure_data(path),
    "reports/*/connectivity.parquet": lambda path, lake: pd.read_parquet(path),
    f"{ARTIFACTS}/models/*/artifacts/data/forecaster/weights.safetensors": champion,
    f"{ARTIFACTS}/models/*/artifacts/data/forecaster/forecaster.json": champion,
    f"{ARTIFACTS}/*/artifacts/origin.json": lambda path, lake: read_origin(TrackingStore(lake.mlflow), path.parts[-3]),
}


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.fixture(scope="module")
def lake(materialized, tmp_path_factory) -> Lake:
    return Lake(shutil.copytree(materialized.closed_copy, tmp_path_factory.mktemp("planted") / "lake"))


@pytest.fixture
def trace(tmp_path):
    """A folder that exists once the planted code has run, as it does when unpickled."""
    path = tmp_path / "executed"
    pickle.loads(pickle.dumps(Malicious(path)))
    path.rmdir()
    yield path
    assert not path.exists()


def plant(path: Path, trace: Path) -> None:
    objects = np.array([Malicious(trace)], dtype=object)
    with path.open("wb") as file:
        if path.suffix == ".npy":
            np.save(file, objects, allow_pickle=True)
        elif path.suffix == ".npz":
            np.savez(file, voltage=objects, rate_hz=objects, unit=objects, facts=objects)
        elif path.suffix == ".yaml":
            file.write(f"!!python/object/apply:os.mkdir ['{trace}']\n".encode())
        else:
            pickle.dump(Malicious(trace), file)


@pytest.mark.parametrize(("place", "load"), PLACES.items(), ids=PLACES)
def test_planted_code_is_refused_and_never_executed(lake, trace, place, load):
    path = sorted(lake.root.glob(place))[0] if "*" in place else lake.root / place
    former = path.read_bytes() if path.exists() else None
    plant(path, trace)
    try:
        with pytest.raises(ValueError, match=r".+"):
            load(path, lake)
    finally:
        path.unlink() if former is None else path.write_bytes(former)


@pytest.mark.parametrize("folder", ["history", "quarantine"])
def test_code_planted_in_a_record_is_never_executed_and_hides_no_recording(lake, trace, folder):
    path = lake.root / folder / "slice" / "run_broken.json"
    former = path.read_bytes()
    plant(path, trace)
    try:
        assert [str(key) for key in read_quarantine(lake)] == ["slice--run_broken"]
    finally:
        path.write_bytes(former)


@pytest.mark.parametrize("spelt", ["pickle", "pickl\\u0065"])
def test_a_codec_that_unpickles_is_refused_in_any_spelling(tmp_path, trace, spelt):
    folder = tmp_path / "recording.zarr"
    group = zarr.open_group(str(folder), mode="w")
    group.attrs.update(num_segments=1, sampling_frequency=1000.0)
    group.create_dataset("traces_seg0", data=np.zeros((5000, 1), np.int16))
    names = folder / "channel_ids"
    names.mkdir()
    described = {
        "chunks": [1],
        "shape": [1],
        "dtype": "|O",
        "order": "C",
        "zarr_format": 2,
        "fill_value": 0,
        "compressor": None,
        "filters": [{"id": "SPELT", "protocol": 5}],
    }
    (names / ".zarray").write_text(json.dumps(described).replace("SPELT", spelt))
    (names / "0").write_bytes(pickle.dumps([Malicious(trace), [1]]))
    with pytest.raises(ValueError, match="holds pickles, which can run code"):
        open_recording(folder)


def test_a_name_that_leaves_the_lake_is_not_a_key():
    for name in ("slice--../run", "..--run", "slice--a/b", "slice--/etc/passwd", "slice--a\\b", "slice--.hidden"):
        with pytest.raises(ValueError, match="cannot be used"):
            RecordingKey.parse(name)
