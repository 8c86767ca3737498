"""Registered versions compared by the command line, on what none of them learned from."""

import pandas as pd
import pytest
from click.testing import CliRunner

from voltpipe.cli import main
from voltpipe.lake import LAKE_VARIABLE


@pytest.fixture(scope="module")
def materialized(materialized_copy):
    return materialized_copy


@pytest.fixture
def compare(materialized, monkeypatch):
    monkeypatch.setenv(LAKE_VARIABLE, str(materialized.lake.root))
    return lambda *versions: CliRunner().invoke(main, ["compare", *versions])


def test_two_versions_get_a_page(compare, materialized):
    result = compare("champion", "2")
    assert result.exit_code == 0, result.output
    verdict, page = result.output.splitlines()[-2:]
    assert verdict.startswith("version 2 ")
    assert page == str(materialized.lake.reports / "comparison_1_2" / "comparison.html")
    gains = pd.read_parquet(materialized.lake.reports / "comparison_1_2" / "gains.parquet")
    whole = gains[(gains["group"] == "all") & (gains["horizon"] == "mean")].iloc[0]
    assert whole["gain"] < 0  # version 2 was refused for it
    assert f"{whole['r2']:.4f} against {whole['first_r2']:.4f}" in verdict


@pytest.mark.parametrize(
    ("versions", "reason"), [(["1", "7"], "7"), (["1", "champion"], "name two different ones"), (["1"], "name two")]
)
def test_what_cannot_be_compared_is_one_message(compare, versions, reason):
    result = compare(*versions)
    assert result.exit_code == 1
    assert result.output.startswith("voltpipe: ")
    assert reason in result.output
