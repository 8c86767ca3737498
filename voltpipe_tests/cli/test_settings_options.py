"""Options of the command line are derived from the settings, with their defaults and bounds."""

import re

import pytest
from click.testing import CliRunner

from voltpipe.cli.main import main
from voltpipe.cli.settings_options import OptionError, settings_from_options
from voltpipe.forecasting.search.settings import SearchSettings
from voltpipe.forecasting.settings import Architecture, Device, TrainingSettings
from voltpipe.lake.paths import LAKE_VARIABLE
from voltpipe.recordings.hints import Hints
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.schema import setting_help
from voltpipe.simulation.settings import SimulationSettings
from voltpipe.tracking.settings import ReproductionSettings
from voltpipe.windows.settings import WindowSettings

COMMANDS = (
    ("reproduce", ReproductionSettings),
    ("train", TrainingSettings),
    ("search", SearchSettings),
    ("ingest", Hints),
    ("ingest", ConditioningSettings),
    ("forecast", Hints),
    ("simulate", SimulationSettings),
)
EVERY_SETTING = [
    (command, settings, name)
    for command, settings in COMMANDS
    for name in settings.model_fields
    if (settings, name) != (Hints, "conditioning")  # its own settings are options
]
POSITIONAL = {("simulate", "preparation")}


@pytest.mark.parametrize(("command", "settings", "name"), EVERY_SETTING)
def test_each_setting_is_one_option_with_the_description_of_the_setting(command, settings, name):
    options = [parameter for parameter in main.commands[command].params if parameter.name == name]
    assert len(options) == 1
    if (command, name) not in POSITIONAL:
        field = settings.model_fields[name]
        assert not options[0].show_default  # the help text already contains it
        assert options[0].help.startswith(setting_help(field))
        if isinstance(field.default, int | float):
            assert f"[default: {field.default}]" in options[0].help


def test_bounds_and_default_are_shown():
    budget = next(parameter for parameter in main.commands["train"].params if parameter.name == "budget_s")
    assert budget.opts == ["--budget-s"]
    assert re.search(r"\(>= 1, <= 604800\) \[default: 120\.0\]$", budget.help)


def test_the_option_of_a_count_is_named_after_the_counted_thing():
    recordings = next(parameter for parameter in main.commands["simulate"].params if parameter.name == "n_recordings")
    assert recordings.opts == ["--recordings"]


def test_an_option_that_is_not_given_keeps_its_default():
    settings = settings_from_options(TrainingSettings, {"architecture": "cnn_lstm", "budget_s": None, "file": "other"})
    assert settings == TrainingSettings(architecture=Architecture.CNN_LSTM)


def test_an_option_may_be_given_several_times():
    assert settings_from_options(WindowSettings, {"horizons_samples": (1, 5)}).horizons_samples == (1, 5)
    assert settings_from_options(WindowSettings, {"horizons_samples": ()}) == WindowSettings()


def test_a_pair_is_one_option_with_two_values():
    (option,) = (parameter for parameter in main.commands["search"].params if parameter.name == "batch_size_range")
    assert (option.nargs, option.multiple) == (2, False)
    assert settings_from_options(SearchSettings, {"batch_size_range": (4, 8)}).batch_size_range == (4, 8)


def test_all_options_out_of_bounds_are_named():
    with pytest.raises(OptionError) as refused:
        settings_from_options(TrainingSettings, {"budget_s": 0.5, "batch_size": 0, "device": Device.CPU})
    assert "--budget-s 0.5" in str(refused.value)
    assert "--batch-size 0" in str(refused.value)
    assert refused.value.code == "option-out-of-bounds"
    assert "device" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "--budget-s", "0"], "--budget-s 0.0"),
        (["train", "--max-epochs", "0"], "--max-epochs 0"),
        (["simulate", "organoid", "--organoid", "slice", "--recordings", "0"], "--recordings 0"),
        (["simulate", "brunel", "--organoid", "slice", "--seconds", "0.5"], "--seconds 0.5"),
        (["ingest", __file__, "--organoid", "slice", "--rate-hz", "-1"], "--rate-hz -1.0"),
        (["forecast", __file__, "--out", "never.parquet", "--rate-hz", "0"], "--rate-hz 0.0"),
        (["simulate", "organoid", "--organoid", "../slice"], "'../slice'"),
    ],
)
def test_options_out_of_bounds_are_refused_before_any_file_is_written(arguments, named, monkeypatch, tmp_path):
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path / "lake"))
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("voltpipe: ")
    assert named in outcome.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["train", "--architecture", "transformer"], ["train", "--budget-s", "long"]])
def test_what_cannot_be_read_is_a_mistake_in_the_command(arguments):
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 2
    assert "Invalid value for" in outcome.stderr
