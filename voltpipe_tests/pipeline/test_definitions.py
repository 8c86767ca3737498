"""The asset graph as designed. It loads quickly and without warnings."""

import subprocess
import sys
from graphlib import TopologicalSorter

import dagster as dg
import pytest

from voltpipe.lake.paths import Lake
from voltpipe.pipeline.asset_values import STAGE_FOLDERS
from voltpipe.pipeline.build_definitions import build_definitions

HEAVY = ("torch", "mlflow", "brian2", "pynwb", "matplotlib", "pandas")
GROUPS = {
    "recordings": {"raw_recording", "conditioned_recording"},
    "windows": {"recording_split", "window_set"},
    "forecasting": {"found_settings", "trained_forecaster"},
    "evaluation": {"forecast_evaluation", "diagnostics", "interpretation", "evaluation_report"},
    "registry": {"registered_forecaster", "champion_forecaster"},
    "monitoring": {"recording_forecast", "live_skill", "retraining_policy"},
    "operations": {"lake_report", "tidied_lake"},
}
UPSTREAM = {
    "raw_recording": set(),
    "conditioned_recording": {"raw_recording"},
    "recording_split": {"conditioned_recording"},
    "lake_report": {"conditioned_recording", "recording_split"},
    "window_set": {"recording_split"},
    "found_settings": {"window_set"},
    "trained_forecaster": {"window_set"},
    "forecast_evaluation": {"trained_forecaster"},
    "diagnostics": {"forecast_evaluation"},
    "interpretation": {"forecast_evaluation"},
    "evaluation_report": {"forecast_evaluation", "diagnostics", "interpretation"},
    "registered_forecaster": {"forecast_evaluation"},
    "champion_forecaster": {"registered_forecaster"},
    "recording_forecast": {"conditioned_recording", "champion_forecaster"},
    "tidied_lake": set(),
    "retraining_policy": {"conditioned_recording", "registered_forecaster", "champion_forecaster", "live_skill"},
    "live_skill": {"conditioned_recording", "champion_forecaster"},
}
INGESTED = {"raw_recording", "conditioned_recording"}
PARTITIONED = INGESTED | {"recording_forecast"}
WITHOUT_VALUE = (
    PARTITIONED | {"diagnostics", "interpretation"} | {"lake_report", "live_skill", "tidied_lake", "retraining_policy"}
)
BLOCKING_CHECKS = {
    "window_set": {"no_sample_in_two_splits", "no_window_over_a_border"},
    "trained_forecaster": {"finite_weights"},
    "registered_forecaster": {"serves"},
}
OTHER_CHECKS = {
    "forecast_evaluation": {"figure_data"},
    "diagnostics": {
        "errors_by_group",
        "robustness",
        "bad_channels",
        "out_of_distribution",
        "resemblance",
        "following",
        "leak_probe",
        "other_moments",
        "time_reversal",
        "seed_spread",
    },
    "interpretation": {
        "connectivity",
        "ablations",
        "channels",
        "attribution",
        "influence",
        "filters",
        "responses",
        "attribution_sanity",
    },
    "evaluation_report": {"figures"},
    "raw_recording": {"readable"},
    "conditioned_recording": {
        "finite",
        "gaps",
        "dropped",
        "flat",
        "clipping",
        "noise",
        "hum",
        "drift",
        "rate",
        "unit_range",
        "duration",
        "alike",
        "duplicate",
    },
    "trained_forecaster": {"learning_went_down"},
    "champion_forecaster": {
        "beats_baselines",
        "beats_champion",
        "no_organoid_or_channel_type_worse",
        "not_rolled_back",
    },
    "recording_forecast": {"forecast"},
    "live_skill": {"skill_holds", "no_drift"},
}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory):
    return build_definitions(Lake(tmp_path_factory.mktemp("definitions") / "lake"))


@pytest.fixture(scope="module")
def graph(definitions):
    return definitions.resolve_asset_graph()


def names(keys):
    return {key.path[-1] for key in keys}


def test_assets_are_grouped_by_stage(graph):
    groups: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(graph.get(key).group_name, set()).add(key.path[-1])
    assert groups == GROUPS


def test_no_group_depends_on_a_later_one(graph):
    group_of = {key: graph.get(key).group_name for key in graph.get_all_asset_keys()}
    before: dict[str, set[str]] = {group: set() for group in GROUPS}
    for key, group in group_of.items():
        before[group] |= {group_of[parent] for parent in graph.get(key).parent_keys} - {group}
    assert len(before) in (6, 7)
    assert set(TopologicalSorter(before).static_order()) == set(
        GROUPS
    )  # raises CycleError where two lead to each other


def test_each_asset_has_its_upstream_assets(graph):
    assert {key.path[-1]: names(graph.get(key).parent_keys) for key in graph.get_all_asset_keys()} == UPSTREAM


def test_each_asset_has_a_description_and_kinds(graph):
    for key in graph.get_all_asset_keys():
        assert graph.get(key).description
        assert graph.get(key).kinds


def test_each_recording_is_a_partition(graph):
    partitioned = {key.path[-1]: graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    assert {name for name, partitions in partitioned.items() if partitions} == PARTITIONED
    assert partitioned["raw_recording"] == dg.DynamicPartitionsDefinition(name="recordings")


@pytest.mark.parametrize(("blocking", "expected"), [(True, BLOCKING_CHECKS), (False, OTHER_CHECKS)])
def test_each_check_is_on_its_asset_and_blocks_as_designed(graph, blocking, expected):
    checks: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        if graph.get_check_spec(key).blocking is blocking:
            assert graph.get_check_spec(key).description
            checks.setdefault(key.asset_key.path[-1], set()).add(key.name)
    assert checks == expected


def test_jobs_sensors_and_schedules(definitions):
    assert {job.name for job in definitions.jobs} == {
        "ingest_recordings",
        "report_lake",
        "train_forecaster",
        "search_hyperparameters",
        "forecast_recordings",
        "tidy_lake",
    }
    assert {sensor.name for sensor in definitions.sensors} == {
        "raw_recordings",
        "lake_changes",
        "retraining",
        "policy_changes",
        "live_scoring",
        "dead_runs",
    }
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in definitions.sensors)
    (schedule,) = definitions.schedules
    assert (schedule.name, schedule.job_name) == ("nightly_retraining", "train_forecaster")
    assert schedule.cron_schedule == "0 2 * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_each_job_selects_its_assets(definitions, graph):
    ingest, search, train, forecast = (
        names(definitions.resolve_job_def(name).asset_layer.selected_asset_keys)
        for name in ("ingest_recordings", "search_hyperparameters", "train_forecaster", "forecast_recordings")
    )
    assert ingest == INGESTED
    assert search == GROUPS["windows"] | {"found_settings"}
    assert forecast == {"recording_forecast"}
    every = names(graph.get_all_asset_keys())
    assert train == every - ingest - {"found_settings", "tidied_lake"} - GROUPS["monitoring"]


def test_one_training_runs_at_a_time_and_one_champion_is_chosen_at_a_time(definitions):
    train, search = (definitions.resolve_job_def(name).graph for name in ("train_forecaster", "search_hyperparameters"))
    assert train.node_named("trained_forecaster").definition.pools == {"training"}
    assert search.node_named("found_settings").definition.pools == {"training"}
    assert train.node_named("champion_forecaster").definition.pools == {"registry"}


def test_each_asset_with_a_value_has_a_folder_in_the_lake(graph):
    assert STAGE_FOLDERS.keys() == names(graph.get_all_asset_keys()) - WITHOUT_VALUE


def test_a_resource_can_be_replaced(tmp_path):
    other = dg.ResourceDefinition.hardcoded_resource("other")
    definitions = build_definitions(Lake(tmp_path / "lake"), resources={"tracking": other})
    assert definitions.resources["tracking"] is other
    assert definitions.resources["lake"].root == str(tmp_path / "lake")


@pytest.mark.slow
def test_a_code_location_loads_without_warnings_and_without_heavy_imports(tmp_path):
    program = f"""
import warnings, sys, dagster as dg
warnings.simplefilter("error")
from voltpipe.pipeline.definitions import defs
dg.Definitions.validate_loadable(defs)
print([name for name in {HEAVY} if name in sys.modules])
"""
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (loaded.stdout, loaded.stderr) == ("[]\n", "")
    assert list(tmp_path.iterdir()) == []
