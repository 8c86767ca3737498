"""Commands that change or show the champion, and the doctor's check of it."""

import pytest
from click.testing import CliRunner

from voltpipe.cli.doctor import _champion
from voltpipe.cli.main import main
from voltpipe.lake.paths import LAKE_VARIABLE, Lake


@pytest.fixture
def lake(slow_to_make, tmp_path, store, new_version, promote, monkeypatch):
    """A lake whose former champion is version 1 and whose champion is version 2."""
    monkeypatch.setenv(LAKE_VARIABLE, str(tmp_path))
    for weight in (0.5, 0.6):
        promote(store, new_version(weight).version)
    return Lake(tmp_path)


def typed(*arguments):
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.mark.slow
def test_a_rollback_is_one_command_and_appears_in_the_history(lake):
    result = typed("rollback", "--why", "it hums")
    assert result.exit_code == 0
    assert "version 1 rolled back (champion 2 -> 1) by " in result.stdout
    lines = typed("history").stdout.splitlines()
    assert [line.split("version ")[1].split(" (")[0] for line in lines] == ["1 promoted", "2 promoted", "1 rolled back"]
    assert lines[-1].endswith(": it hums")


def test_an_impossible_rollback_is_refused_in_one_message(lake):
    result = typed("rollback", "7", "--why", "it hums")
    assert result.exit_code == 1
    assert "ersion 7 " in result.stderr
    assert "1" in result.stderr.split("ersion 7 ")[1]
    assert typed("rollback").exit_code == 2  # --why is required


def test_the_doctor_reports_a_champion_that_was_deleted_in_mlflow(lake, store):
    store.client.delete_model_version("voltage-forecaster", "2")
    findings = list(_champion(lake))
    assert not findings[0].healthy
    for version in ("version 2", "version 1"):
        assert version in findings[0].found
    assert "voltpipe rollback" in findings[0].remedy
    typed("rollback", "--why", "2 was deleted")
    findings = list(_champion(lake))
    assert [finding.healthy for finding in findings] == [True, True]
    assert findings[0].found.startswith("version 1, autoregression")
    assert "2 was deleted" in findings[1].found
