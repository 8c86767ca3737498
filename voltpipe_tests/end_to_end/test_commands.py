"""The commands in the order in which a user types them, on one lake."""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from voltpipe.cli.main import main
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.recordings.raw.sidecar import read_hints
from voltpipe.recordings.store.conditioned_recording import conditioned_recordings, open_conditioned

pytestmark = pytest.mark.slow

HINTS = ("--unit", "uV", "--rate-hz", "250", "--condition", "baseline")
NAMES = [f"n{channel}" for channel in range(6)]


@dataclass(frozen=True)
class Shell:
    """Command line on one lake."""

    lake: Lake
    files: Path

    def type(self, *arguments: str | Path) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def write_csv(path: Path, voltage_mv: np.ndarray) -> Path:
    np.savetxt(path, voltage_mv * 1000, fmt="%.3f", delimiter=",", header=",".join(NAMES), comments="")
    return path


@pytest.fixture(scope="module")
def shell(tmp_path_factory, working_directory):
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LAKE_VARIABLE, str(folder / "lake"))
        yield Shell(Lake(folder / "lake"), folder)


@pytest.fixture(scope="module")
def ingested(shell, spiking_mv) -> tuple[Result, list[Path]]:
    """Ingest six good recordings and one with a NaN, as CSV in uV."""
    files = [write_csv(shell.files / f"run_{number}.csv", spiking_mv(number)) for number in range(6)]
    broken_mv = spiking_mv(9)
    broken_mv[700, 2] = np.nan
    files.insert(1, write_csv(shell.files / "run_broken.csv", broken_mv))
    return shell.type("ingest", *files, "--organoid", "slice", *HINTS), files


@pytest.fixture(scope="module")
def trained(shell, ingested) -> Result:
    return shell.type(
        *("train", "--organoid", "slice", "--max-epochs", "2", "--windows-per-epoch", "48", "--device", "cpu")
    )


@pytest.fixture
def forecast(shell, trained, tmp_path) -> Callable[..., tuple[Result, Path]]:
    def run(file: Path, *options: str) -> tuple[Result, Path]:
        out = tmp_path / "forecast.parquet"
        return shell.type("forecast", file, "--model", "voltage-forecaster/1", "--out", out, *options), out

    return run


def test_a_bad_file_is_reported_with_a_reason_and_the_others_are_ingested(shell, ingested):
    result, _ = ingested
    assert result.exit_code == 1
    (complaint,) = result.stderr.splitlines()
    assert "run_broken.csv: quarantined as slice--run_broken: " in complaint
    assert "NaN or infinite" in complaint
    *usable, page = result.stdout.splitlines()
    assert len(usable) == 6
    assert page == f"all recordings: {shell.lake.page}"
    assert "run_broken" in shell.lake.page.read_text()
    assert list(conditioned_recordings(shell.lake)) == [f"slice--run_{number}" for number in range(6)]


def test_a_recording_with_a_warning_is_ingested_and_the_warning_shown(shell, ingested, spiking_mv, tmp_path):
    humming_mv = spiking_mv(21) + 8 * np.sin(2 * np.pi * 50 * np.arange(1500) / 250)[:, None]
    file = write_csv(tmp_path / "run_hum.csv", humming_mv)
    result = shell.type("ingest", file, "--organoid", "elsewhere", *HINTS)
    assert result.exit_code == 0
    assert "conditioned as elsewhere--run_hum" in result.stdout
    assert "; warning, hum: " in result.stdout


def test_hints_are_stored_in_the_sidecar_and_give_the_right_voltage(shell, ingested, spiking_mv):
    hints = read_hints(shell.lake.raw / "slice" / "run_0.csv")
    assert (hints.unit, hints.rate_hz, hints.condition) == ("uV", 250.0, "baseline")
    conditioned = open_conditioned(shell.lake.conditioned_path(RecordingKey("slice", "run_0")))
    assert conditioned.channel_names == tuple(NAMES)
    assert conditioned.facts["condition"] == "baseline"
    np.testing.assert_allclose(conditioned.read_mv(0, 1300), spiking_mv(0)[200:], atol=1e-3)


def test_ingesting_a_file_again_succeeds_and_changes_nothing(shell, ingested):
    _, files = ingested
    before = conditioned_recordings(shell.lake)["slice--run_0"].digest
    result = shell.type("ingest", files[0], "--organoid", "slice")
    assert result.exit_code == 0
    assert conditioned_recordings(shell.lake)["slice--run_0"].digest == before


def test_a_file_with_other_content_under_a_known_name_is_refused(shell, ingested, spiking_mv, tmp_path):
    before = conditioned_recordings(shell.lake)["slice--run_0"].digest
    other = write_csv(tmp_path / "run_0.csv", spiking_mv(20))
    result = shell.type("ingest", other, "--organoid", "slice", *HINTS)
    assert result.exit_code == 1
    assert "slice--run_0" in result.stderr
    assert conditioned_recordings(shell.lake)["slice--run_0"].digest == before


def test_a_training_prints_scores_baselines_decision_and_report(trained):
    assert trained.exit_code == 0
    for expected in ("held-out recordings", "persistence", "autoregression", "voltage-forecaster version 1 is"):
        assert expected in trained.stdout
    assert "lookup table" in trained.stdout
    assert "true connections" in trained.stdout
    (line,) = [line for line in trained.stdout.splitlines() if line.startswith("report: ")]
    assert Path(line.removeprefix("report: ")).is_file()


def test_a_training_without_recordings_fails_with_the_reason(shell, ingested):
    result = shell.type("train", "--organoid", "nobody")
    assert result.exit_code == 1
    assert result.stderr.startswith("voltpipe: ")
    assert "train_forecaster" in result.stderr
    assert "raw/<organoid>/" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_forecast_has_a_row_per_time_channel_and_horizon_until_after_the_end(forecast, ingested):
    _, files = ingested
    result, out = forecast(files[0], *HINTS)
    assert result.exit_code == 0, result.output
    frame = pq.read_table(out).to_pandas()
    assert list(frame.columns) == ["time_s", "channel", "horizon_ms", "forecast_mv", "q10_mv", "q50_mv", "q90_mv"]
    # 1,500 samples, 150 of them history. A forecast every 10 ms is one every 2 samples of 4 ms (2.5 rounded to even).
    n_times = len(range(1499, 148, -2))
    assert len(frame) == n_times * 6 * 6
    assert result.stdout == f"{len(frame):,} forecasts in {out}\n"
    assert set(frame.channel) == set(NAMES)
    assert sorted(frame.horizon_ms.unique()) == [4, 8, 12, 20, 40, 80]
    assert frame.time_s.max() == pytest.approx((1499 + 20) / 250)  # the recording ends at 6 s
    assert frame.forecast_mv.between(-90, -30).all()
    forecaster = json.loads(pq.read_schema(out).metadata[b"voltpipe"])["forecaster"]
    assert (forecaster["organoids"], forecaster["rate_hz"]) == (["slice"], 250.0)


def test_with_adaptation_an_unseen_organoid_is_forecast_after_its_beginning(forecast, ingested):
    _, files = ingested
    known, out = forecast(files[0], *HINTS)
    of_known = pq.read_table(out).to_pandas()
    unseen, out = forecast(files[0], *HINTS, "--organoid", "another")
    of_unseen = pq.read_table(out).to_pandas()
    adapted, out = forecast(files[0], *HINTS, "--adapt-ms", "3000")
    of_adapted = pq.read_table(out).to_pandas()
    assert [result.exit_code for result in (known, unseen, adapted)] == [0, 0, 0]
    assert len(of_unseen) == len(of_known)
    assert of_adapted.time_s.min() >= 3.0
    assert of_adapted.time_s.max() == of_known.time_s.max()
    later = of_unseen[of_unseen.time_s - of_unseen.horizon_ms / 1000 >= 3.0 - 0.004]
    assert len(later) == len(of_adapted)
    assert (later.forecast_mv.to_numpy() != of_adapted.forecast_mv.to_numpy()).any()


def test_a_forecast_at_another_rate_is_refused(forecast, ingested):
    _, files = ingested
    result, out = forecast(files[0], "--unit", "uV", "--rate-hz", "500")
    assert result.exit_code == 1
    assert "500 Hz" in result.stderr
    assert "250 Hz" in result.stderr
    assert not out.exists()


def test_a_forecaster_that_is_not_registered_is_refused(shell, trained, ingested, tmp_path):
    _, files = ingested
    out = tmp_path / "never.parquet"
    result = shell.type("forecast", files[0], "--model", "voltage-forecaster/9", "--out", out, *HINTS)
    assert result.exit_code == 1
    assert "voltage-forecaster/9" in result.stderr
    assert not out.exists()


def test_the_working_directory_stays_empty(trained, working_directory):
    assert list(working_directory.iterdir()) == []


@pytest.fixture
def ports():
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        numbers = one.getsockname()[1], other.getsockname()[1]
    return ("--dagster-port", str(numbers[0]), "--mlflow-port", str(numbers[1]))


def test_doctor_creates_the_stores_of_a_new_lake_and_finds_no_fault(ports, tmp_path, working_directory, monkeypatch):
    lake = Lake(tmp_path / "lake")
    monkeypatch.setenv(LAKE_VARIABLE, str(lake.root))
    result = CliRunner().invoke(main, ["doctor", *ports])
    assert result.exit_code == 0, result.output
    assert (lake.mlflow / "mlflow.db").is_file()
    assert (lake.dagster / "dagster.yaml").is_file()
    subjects = [line[6:].split()[0] for line in result.stdout.splitlines()]
    assert {"versions", "lake", "disk", "Dagster", "MLflow", "champion", "recordings", "ports", "device"} <= {*subjects}
    assert "WRONG" not in result.stdout


def test_doctor_reports_faults_with_remedies(tmp_path, working_directory, monkeypatch):
    lake = Lake(tmp_path / "lake")
    (lake.raw / "slice").mkdir(parents=True)
    (lake.raw / "slice" / "notes.docx").touch()
    monkeypatch.setenv(LAKE_VARIABLE, str(lake.root))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["doctor", "--dagster-port", port, "--mlflow-port", port])
    assert result.exit_code == 1
    assert "WRONG recordings   raw/slice/notes.docx" in result.stdout
    assert f"127.0.0.1:{port}" in result.stdout
    assert "--dagster-port" in result.stdout
