"""Files from two rigs and two organoids, from `voltpipe ingest` to forecasts as NWB, by commands only."""

import json
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from pynwb import NWBHDF5IO, NWBFile
from pynwb.ecephys import ElectricalSeries

from voltpipe.cli.main import main
from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import LAKE_VARIABLE, Lake
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.sidecar import read_hints
from voltpipe.recordings.store.conditioned_recording import open_conditioned

pytestmark = pytest.mark.slow

RATE_HZ, N_CHANNELS = 20_000, 6
POSITIONS_UM = np.column_stack([17.5 * np.arange(N_CHANNELS), np.full(N_CHANNELS, 35.0)])
SHORT = ("--trim-ms", "100", "--calibration-s", "0.4", "--minimum-s", "1")
TRAINING = ("--max-epochs", "1", "--windows-per-epoch", "32", "--device", "cpu")
PREPARATION = ("--session-start", "2026-01-01", "--species", "Homo sapiens", "--age", "P90D")


def field_potential_uv(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Make waves of about 8 Hz with varying phase and amplitude, common to all electrodes, plus 5 uV of noise."""
    rng = np.random.default_rng(seed)
    n_slow = round(seconds * 1000)
    steps = rng.standard_normal((n_slow, 2)) @ [1, 1j]
    envelope = np.zeros(n_slow, complex)
    for sample in range(1, n_slow):
        envelope[sample] = 0.99 * np.exp(2j * np.pi * 8 / 1000) * envelope[sample - 1] + steps[sample]
    waves_uv = 30 * envelope.real / envelope.real.std()
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    common_uv = np.interp(times_s, np.arange(n_slow) / 1000, waves_uv)
    return common_uv[:, None] * np.linspace(0.6, 1.4, N_CHANNELS) + rng.normal(0, 5, (len(times_s), N_CHANNELS))


def write_maxwell(path: Path, voltage_uv: np.ndarray) -> Path:
    """Write a file in MaxLab Live's layout: one recording under three names, as 10-bit counts around 512."""
    mapping = np.array(
        [(channel, 1000 + channel, *POSITIONS_UM[channel]) for channel in range(N_CHANNELS)],
        dtype=[("channel", "<i4"), ("electrode", "<i4"), ("x", "<f8"), ("y", "<f8")],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["version"], file["mxw_version"] = np.array([b"20190530"]), np.array([b"22.2.6"])
        stored = file.create_group("data_store/data0000")
        stored["settings/lsb"], stored["settings/sampling"] = [6.294e-6], [float(RATE_HZ)]
        stored["settings/gain"], stored["settings/hpf"] = [512.0], [1.0]
        stored["settings/mapping"] = mapping
        stored["groups/routed/channels"] = np.arange(N_CHANNELS)
        stored["groups/routed/frame_nos"] = np.arange(len(voltage_uv), dtype="<u8") + 12_345
        counts = np.clip(np.rint(voltage_uv / 6.294) + 512, 0, 1023).astype("<u2")
        stored.create_dataset("groups/routed/raw", data=counts.T, chunks=(N_CHANNELS, 200), compression="gzip")
        for link in ("wells/well000/rec0000", "recordings/rec0000/well000"):
            file[link] = h5py.SoftLink("/data_store/data0000")
    return path


def write_nwb(path: Path, voltage_uv: np.ndarray) -> Path:
    """Write an NWB file as in pynwb's tutorial on extracellular recordings, from counts of an Intan amplifier."""
    file = NWBFile("slice on a dish", path.stem, datetime(2026, 1, 1, tzinfo=UTC))
    group = file.create_electrode_group("dish", "six electrodes", "in vitro", file.create_device("mea"))
    file.add_electrode_column("channel_name", "as the amplifier names it")
    for channel, (x_um, y_um) in enumerate(POSITIONS_UM):
        file.add_electrode(rel_x=x_um, rel_y=y_um, location="organoid", group=group, channel_name=f"A-{channel:03d}")
    file.add_acquisition(
        ElectricalSeries(
            name="raw",
            data=np.rint(voltage_uv / 0.195).astype(np.int16),
            electrodes=file.create_electrode_table_region(list(range(N_CHANNELS)), "all of them"),
            conversion=0.195e-6,
            rate=float(RATE_HZ),
        )
    )
    with NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


def run_voltpipe(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def lake(tmp_path_factory, working_directory):
    folder = tmp_path_factory.mktemp("own_recordings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LAKE_VARIABLE, str(folder / "lake"))
        yield Lake(folder / "lake")


@pytest.fixture(scope="module")
def maxwell_files(lake) -> list[Path]:
    """Write three files; the first has MaxLab Live's usual name data.raw.h5, in its own folder."""
    names = ("000120/data.raw.h5", "000121.raw.h5", "000122.raw.h5")
    return [write_maxwell(lake.root.parent / name, field_potential_uv(seed)) for seed, name in enumerate(names)]


@pytest.fixture(scope="module")
def nwb_files(lake) -> list[Path]:
    lake.root.parent.mkdir(exist_ok=True)
    return [write_nwb(lake.root.parent / f"slice_{number}.nwb", field_potential_uv(10 + number)) for number in range(3)]


@pytest.fixture(scope="module")
def ingested(lake, maxwell_files, nwb_files) -> list[Result]:
    lfp = ("--profile", "lfp", "--lfp-rate-hz", "1000", *SHORT)
    first, *others = maxwell_files
    return [
        run_voltpipe("ingest", first, "--organoid", "chip", "--name", "000120", *lfp),
        run_voltpipe("ingest", *others, "--organoid", "chip", *lfp),
        run_voltpipe("ingest", *nwb_files, "--organoid", "dish", *lfp, "--common-reference"),
    ]


@pytest.fixture(scope="module")
def trained(ingested) -> dict[str, Result]:
    """Train on all organoids, which uses those of one rig only, then on the other organoid."""
    return {"chip": run_voltpipe("train", *TRAINING), "dish": run_voltpipe("train", "--organoid", "dish", *TRAINING)}


def test_every_file_is_conditioned_as_the_options_say(lake, ingested):
    assert [result.exit_code for result in ingested] == [0, 0, 0], [result.output for result in ingested]
    chip = open_conditioned(lake.conditioned_path(RecordingKey("chip", "000120")))
    dish = open_conditioned(lake.conditioned_path(RecordingKey("dish", "slice_1")))
    assert chip.channel_names == tuple(f"electrode_{1000 + channel}" for channel in range(N_CHANNELS))
    assert dish.channel_names == tuple(f"A-{channel:03d}" for channel in range(N_CHANNELS))
    for recording in (chip, dish):
        assert recording.rate_hz == 1000
        settings = recording.metadata.settings
        assert (settings.trim_ms, settings.calibration_s, settings.minimum_s) == (100, 0.4, 1)
    assert not chip.metadata.settings.common_reference
    assert dish.metadata.settings.common_reference


def test_conditioning_options_are_stored_in_the_sidecar(lake, ingested):
    hints = read_hints(lake.raw / "chip" / "000120.h5")
    assert hints.given() == {
        "profile": "lfp",
        "trim_ms": 100,
        "calibration_s": 0.4,
        "minimum_s": 1,
        "lfp_rate_hz": 1000,
    }


def test_a_setting_out_of_bounds_is_refused_before_anything_is_copied(lake, ingested, nwb_files):
    result = run_voltpipe("ingest", nwb_files[0], "--organoid", "third", "--trim-ms", "-1")
    assert result.exit_code == 1
    assert "--trim-ms -1.0: " in result.stderr
    assert not (lake.raw / "third").exists()


def test_another_recording_under_the_same_name_is_refused_with_a_remedy(ingested, maxwell_files):
    result = run_voltpipe("ingest", maxwell_files[1], "--organoid", "chip", "--name", "000120")
    assert result.exit_code == 1
    assert "chip--000120" in result.stderr
    assert "--name" in result.stderr
    assert run_voltpipe("ingest", *maxwell_files, "--organoid", "chip", "--name", "run").exit_code == 2


def test_a_training_lists_the_recordings_that_it_could_not_use(trained):
    assert trained["chip"].exit_code == 0, trained["chip"].output
    (line,) = [line for line in trained["chip"].stdout.splitlines() if line.startswith("left out")]
    assert line.startswith("left out: 3 recordings (dish--slice_0, dish--slice_1, dish--slice_2). Each ")
    assert "left out" not in trained["dish"].stdout


@pytest.mark.parametrize(("organoid", "version"), [("chip", 1), ("dish", 2)])
def test_a_raw_file_is_forecast_and_exported_with_its_forecasts_as_nwb(
    lake, trained, maxwell_files, nwb_files, tmp_path, organoid, version
):
    assert trained[organoid].exit_code == 0, trained[organoid].output
    file, name = {"chip": (maxwell_files[2], "000122.raw"), "dish": (nwb_files[2], "slice_2")}[organoid]
    forecasts, exported = tmp_path / "forecast.parquet", tmp_path / "out.nwb"
    model = f"voltage-forecaster/{version}"
    result = run_voltpipe("forecast", file, "--model", model, "--out", forecasts)
    assert result.exit_code == 0, result.output
    frame = pq.read_table(forecasts).to_pandas()
    recording = open_conditioned(lake.conditioned_path(RecordingKey(organoid, name)))
    assert set(frame.channel) == set(recording.channel_names)
    assert frame.forecast_mv.abs().max() < 5
    forecaster = json.loads(pq.read_schema(forecasts).metadata[b"voltpipe"])["forecaster"]
    assert (forecaster["organoids"], forecaster["conditioning"]["profile"]) == ([organoid], "lfp")
    result = run_voltpipe("export", f"{organoid}--{name}", "--out", exported, *PREPARATION, "--forecast", forecasts)
    assert result.exit_code == 0, result.output
    again = open_recording(exported, series="voltage")
    assert again.channel_names == recording.channel_names
    np.testing.assert_array_equal(again.positions_um, POSITIONS_UM)
    assert open_recording(exported, series="forecast_5_ms").n_samples == len(
        frame.query("horizon_ms == 5").time_s.unique()
    )


def test_a_file_with_other_channels_is_refused(trained, nwb_files, tmp_path):
    result = run_voltpipe("forecast", nwb_files[0], "--model", "voltage-forecaster/1", "--out", tmp_path / "f.parquet")
    assert result.exit_code == 1
    assert "6: A-000, A-001, A-002, ..." in result.stderr
    assert not (tmp_path / "f.parquet").exists()
