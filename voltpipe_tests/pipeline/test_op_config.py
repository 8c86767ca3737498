"""The launchpad is derived from the settings, and refuses invalid settings before a run starts."""

import re
from enum import StrEnum

import dagster as dg
import pytest
from pydantic import Field

from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.forecasting.settings import TrainingSettings
from voltpipe.lake.paths import Lake
from voltpipe.monitoring.settings import LiveSkillSettings
from voltpipe.pipeline.assets.forecasts import RecordingForecastSettings
from voltpipe.pipeline.assets.recordings import RecordingSettings
from voltpipe.pipeline.assets.windows import SplitSettings
from voltpipe.pipeline.build_definitions import build_definitions
from voltpipe.pipeline.jobs import INGEST_JOB, SEARCH_JOB, TRAIN_JOB
from voltpipe.pipeline.op_config import OpConfigError, config_class, op_config_schema, settings_from_config
from voltpipe.schema import Settings, setting_help
from voltpipe.tracking.settings import PromotionSettings, RetentionSettings

FORMS = {
    "conditioned_recording": RecordingSettings,
    "recording_split": SplitSettings,
    "found_settings": SearchSettings,
    "trained_forecaster": TrainingSettings,
    "champion_forecaster": PromotionSettings,
    "recording_forecast": RecordingForecastSettings,
    "tidied_lake": RetentionSettings,
    "live_skill": LiveSkillSettings,
}


@pytest.fixture
def definitions(tmp_path):
    return build_definitions(Lake(tmp_path / "lake"))


def form_of(definitions, asset):
    node = definitions.resolve_assets_def(asset).node_def
    mapping = getattr(node, "config_mapping", None)
    schema = mapping.config_schema if mapping else node.config_schema
    return getattr(schema.config_type, "fields", {})


@pytest.mark.parametrize(("asset", "settings"), FORMS.items())
def test_each_setting_is_in_the_form_with_its_description_and_default(definitions, asset, settings):
    form = form_of(definitions, asset)
    assert form.keys() == settings.model_fields.keys()
    for name, field in settings.model_fields.items():
        assert form[name].description == setting_help(field)
        assert not form[name].is_required
    untouched = {name: field.default_value for name, field in form.items() if field.default_provided}
    assert settings_from_config(settings, untouched) == settings()


def test_no_other_asset_takes_settings(definitions):
    every = [key.path[-1] for key in definitions.resolve_asset_graph().get_all_asset_keys()]
    assert {name for name in every if form_of(definitions, name)} == set(FORMS)


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


class Example(Settings):
    """One setting of each kind."""

    count: int = Field(3, ge=1, le=9, description="Count.")
    share: float = Field(0.5, gt=0, description="Share.")
    name: str = Field("", description="Name.")
    switch: bool = Field(True, description="Switch.")
    color: Color = Field(Color.BLUE, description="Color.")
    steps: tuple[int, ...] = Field((1, 2), description="Steps.")
    limit: float | None = Field(None, ge=0, description="Limit.")


def test_a_form_field_follows_from_the_setting():
    config = config_class(Example)
    assert issubclass(config, dg.Config)
    assert config.__name__ == "ExampleConfig"
    form = config.to_fields_dict()
    assert {name: field.default_value for name, field in form.items()} == {
        "count": 3,
        "share": 0.5,
        "name": "",
        "switch": True,
        "color": "blue",
        "steps": [1, 2],
        "limit": None,
    }
    assert form["count"].description == setting_help(Example.model_fields["count"])
    assert settings_from_config(Example, config(color="red", steps=[3]).model_dump()) == Example(
        color=Color.RED, steps=(3,)
    )


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("count", 4, "four"),
        ("share", 0.1, "much"),
        ("name", "somebody", 1),
        ("switch", False, "off"),
        ("color", "red", "green"),
        ("steps", [3], 3),
        ("limit", None, "far"),
    ],
)
def test_the_form_accepts_the_types_of_the_setting(name, right, wrong):
    @dg.op(config_schema=op_config_schema(Example))
    def example():
        pass

    job = dg.GraphDefinition("job", node_defs=[example]).to_job()
    assert dg.validate_run_config(job, run_config("example", {name: right}))
    with pytest.raises(dg.DagsterInvalidConfigError, match=name):
        dg.validate_run_config(job, run_config("example", {name: wrong}))


def run_config(asset, config):
    return {"ops": {asset: {"config": config}}}


@pytest.mark.parametrize(
    ("job", "asset", "config", "reason"),
    [
        (TRAIN_JOB, "trained_forecaster", {"budget": 60}, "budget"),
        (TRAIN_JOB, "trained_forecaster", {"architecture": "transformer"}, "transformer"),
        (TRAIN_JOB, "trained_forecaster", {"budget_s": "long"}, "budget_s"),
        (TRAIN_JOB, "recording_split", {"horizons_samples": 5}, "horizons_samples"),
        (INGEST_JOB, "conditioned_recording", {"trim": 0}, "trim"),
    ],
)
def test_a_config_that_does_not_fit_the_form_is_refused_by_validation(definitions, job, asset, config, reason):
    with pytest.raises(dg.DagsterInvalidConfigError, match=reason):
        dg.validate_run_config(definitions.resolve_job_def(job), run_config(asset, config))


@pytest.mark.parametrize(
    ("job", "asset", "config", "reason"),
    [
        (TRAIN_JOB, "trained_forecaster", {"budget_s": 0.5}, "budget_s = 0.5"),
        (TRAIN_JOB, "trained_forecaster", {"batch_size": 0}, "batch_size = 0"),
        (TRAIN_JOB, "recording_split", {"test_fraction": 0.5}, "test_fraction = 0.5"),
        (TRAIN_JOB, "recording_split", {"horizons_samples": [5, 1]}, r"horizons_samples = \[5, 1\]"),
        (TRAIN_JOB, "champion_forecaster", {"margin": 2.0}, "margin = 2.0"),
        (SEARCH_JOB, "found_settings", {"learning_rate_range": [0.1, 0.01]}, r"learning_rate_range \(0.1, 0.01\)"),
        (SEARCH_JOB, "found_settings", {"batch_size_range": [0, 8]}, r"batch_size_range \(0, 8\)"),
        (INGEST_JOB, "conditioned_recording", {"trim_ms": -1.0}, "trim_ms = -1.0"),
    ],
)
def test_settings_out_of_bounds_are_refused_with_the_reason_before_any_step(definitions, job, asset, config, reason):
    job_def, config = definitions.resolve_job_def(job), run_config(asset, config)
    with pytest.raises(OpConfigError) as refused:
        dg.validate_run_config(job_def, config)
    assert refused.value.code == "settings-out-of-bounds"
    assert re.search(reason, str(refused.value).partition(" refused")[0])
    assert str(refused.value).startswith(("Value error", next(iter(config["ops"][asset]["config"]))))
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(OpConfigError, match=reason):
            job_def.execute_in_process(run_config=config, instance=instance)
        assert instance.get_runs() == []


def test_all_errors_are_named_at_once():
    with pytest.raises(OpConfigError) as refused:
        settings_from_config(Example, {"count": 10, "share": 0.0})
    assert "count = 10" in str(refused.value)
    assert "share = 0.0" in str(refused.value)
    assert refused.value.code == "settings-out-of-bounds"
