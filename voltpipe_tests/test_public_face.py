"""The public names and the command line import heavy libraries only when they use them."""

import subprocess
import sys

import pytest

import voltpipe

HEAVY = ("torch", "mlflow", "dagster", "brian2", "pynwb", "matplotlib", "pandas")
HELPS = """
from voltpipe.cli.main import main
for command in ["", *main.commands]:
    try:
        main(args=[*command.split(), "--help"], prog_name="voltpipe")
    except SystemExit as left:
        assert left.code == 0, (command, left.code)
"""


def run(program):
    """Run a program, and return its output followed by the names of the heavy libraries that it imported."""
    report = f"\nimport sys\nprint('imported:', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program + report], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_voltpipe_imports_nothing_heavy():
    assert run("import voltpipe").endswith("imported:\n")


def test_the_help_of_each_command_imports_nothing_heavy():
    printed = run(HELPS)
    assert printed.endswith("imported:\n")
    for command in ("simulate", "ingest", "train", "forecast", "reproduce", "demo", "up", "doctor"):
        assert f"Usage: voltpipe {command}" in printed


def test_recordings_are_opened_without_torch_mlflow_or_dagster():
    assert run("from voltpipe import open_recording, open_conditioned").endswith("imported:\n")


@pytest.mark.parametrize("name", voltpipe.__all__)
def test_each_public_name_is_loaded_when_it_is_used(name):
    assert getattr(voltpipe, name).__name__ == name


def test_public_names_are_the_functions_that_type_checkers_see():
    from voltpipe.recordings.raw.open_recording import open_recording
    from voltpipe.recordings.store.conditioned_recording import open_conditioned
    from voltpipe.tracking.model_registry import load_forecaster

    assert (voltpipe.open_recording, voltpipe.open_conditioned) == (open_recording, open_conditioned)
    assert voltpipe.load_forecaster is load_forecaster


def test_an_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'open_everything'"):
        _ = voltpipe.open_everything
