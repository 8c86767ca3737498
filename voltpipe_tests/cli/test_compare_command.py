"""Comparison of registered versions from the command line, on recordings that none of them learned from."""

import json
import shutil

import pandas as pd
import pytest
from click.testing import CliRunner

from voltpipe.cli.main import main
from voltpipe.evaluation.scoring import score_forecaster
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.tracking import compare_versions as compare_module
from voltpipe.tracking.compare_versions import compare_registered
from voltpipe.tracking.mlflow_store import TrackingError, TrackingStore
from voltpipe.tracking.model_registry import find_version
from voltpipe.windows.window_set import WINDOW_SET_MANIFEST_FILE


@pytest.fixture(scope="module")
def materialized(materialized_copy):
    return materialized_copy


@pytest.fixture
def compare(materialized, monkeypatch):
    monkeypatch.setenv(LAKE_VARIABLE, str(materialized.lake.root))
    return lambda *versions: CliRunner().invoke(main, ["compare", *versions])


def test_a_comparison_writes_a_report(compare, materialized):
    result = compare("champion", "2")
    assert result.exit_code == 0, result.output
    verdict, page = result.output.splitlines()[-2:]
    assert verdict.startswith("version 2 ")
    assert page == str(materialized.lake.reports / "comparison_1_2" / "comparison.html")
    gains = pd.read_parquet(materialized.lake.reports / "comparison_1_2" / "gains.parquet")
    overall = gains[(gains["group"] == "all") & (gains["horizon"] == "mean")].iloc[0]
    assert overall["gain"] < 0  # version 2 was refused for it
    assert f"{overall['r2']:.4f} against {overall['first_r2']:.4f}" in verdict


@pytest.fixture
def lake(materialized, tmp_path):
    """A copy of the lake, with a later window set that no version was trained on."""
    lake = Lake(tmp_path / "lake")
    for folder in ("windows", "mlflow"):
        shutil.copytree(materialized.lake.root / folder, lake.root / folder)
    (own,) = lake.windows.glob("set-*")
    later = shutil.copytree(own, lake.windows / "set-later")
    manifest = json.loads((later / WINDOW_SET_MANIFEST_FILE).read_text())
    (later / WINDOW_SET_MANIFEST_FILE).write_text(json.dumps(manifest | {"digest": "later" + 59 * "0"}))
    return lake


@pytest.fixture
def scored_on(monkeypatch):
    """Digests of the window sets that versions are scored on."""
    digests = []

    def scored(forecaster, windows, baselines):
        digests.append(windows.digest)
        return score_forecaster(forecaster, windows, baselines)

    monkeypatch.setattr(compare_module, "score_forecaster", scored)
    return digests


def test_versions_are_compared_on_their_own_window_set_and_not_on_the_newest(lake, scored_on):
    store = TrackingStore(lake.mlflow)
    compare_registered(lake, store, ["1", "2"])
    assert {*scored_on} == {find_version(store, "2").tags["window_set"]}


def test_a_window_set_can_be_named_by_the_first_characters_of_its_digest(lake, scored_on):
    compare_registered(lake, TrackingStore(lake.mlflow), ["1", "2"], "later")
    assert {digest[:5] for digest in scored_on} == {"later"}


@pytest.mark.parametrize("digest", ["nowhere", ""])
def test_a_missing_window_set_is_reported_with_the_existing_ones(lake, digest):
    store = TrackingStore(lake.mlflow)
    for version in ("1", "2"):
        store.client.delete_model_version_tag("voltage-forecaster", version, "window_set")
    with pytest.raises(TrackingError, match="later0") as refused:
        compare_registered(lake, store, ["1", "2"], digest)
    assert refused.value.code == ("window-set-unknown" if digest else "window-set-missing")


@pytest.mark.parametrize(("versions", "reason"), [(["1", "7"], "7"), (["1", "champion"], "1, 1"), (["1"], "1")])
def test_an_impossible_comparison_is_refused_in_one_message(compare, versions, reason):
    result = compare(*versions)
    assert result.exit_code == 1
    assert result.output.startswith("voltpipe: ")
    assert reason in result.output
