"""Damaged, incomplete and ambiguous files of rigs are quarantined with a reason, and nothing is half-written."""

import re
import shutil

import h5py
import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.formats.format_registry import recording_name
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.raw_folder import list_raw
from voltpipe.recordings.raw.recording_records import Verdict, read_quarantine
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings

SETTINGS = ConditioningSettings(trim_ms=0, calibration_s=0.1, minimum_s=0.1)


@pytest.fixture
def folder(lake):
    folder = lake.raw / "org"
    folder.mkdir(parents=True)
    return folder


def quarantine_of(lake, path):
    """Condition a bad recording, and check that it is quarantined and nothing else is written."""
    (key,) = list_raw(lake).found or [RecordingKey("org", path.stem)]
    outcome = condition_raw(lake, key, SETTINGS)
    assert outcome.verdict is Verdict.QUARANTINED
    assert read_quarantine(lake)[key].reason == outcome.reason
    kept = {lake.raw, lake.history}
    written = [path.name for path in lake.root.rglob("*") if path.is_file() and not kept & set(path.parents)]
    assert sorted(name for name in written if name != ".lock") == [f"{key.recording}.json"]
    return outcome


def samples_file(path):
    """Return the file with the samples, or with those of one channel."""
    return path if path.is_file() else max(path.rglob("*"), key=lambda file: file.is_file() and file.stat().st_size)


def test_a_good_file_is_conditioned(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts).path
    (key,) = list_raw(lake).found
    assert list_raw(lake).found[key] == path
    outcome = condition_raw(lake, key, SETTINGS)
    assert (outcome.verdict, outcome.reason) == (Verdict.CONDITIONED, "")


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.01])
def test_a_file_that_was_cut_off_is_refused(lake, folder, rig_format, rig_writers, counts, kept):
    path = rig_writers[rig_format](folder, counts).path
    file = samples_file(path)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept) // 2 * 2 - 1])
    quarantine_of(lake, path)


def test_a_file_without_content_is_refused(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts).path
    samples_file(path).write_bytes(b"")
    quarantine_of(lake, path)


@pytest.mark.parametrize(
    "rig_format", ["MaxWell", "Multi Channel Systems", "CL1", "Intan", "Multi Channel Systems raw"]
)
def test_content_of_another_format_is_refused(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts).path
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    assert re.search(r"run\.", quarantine_of(lake, path).reason)


def add_hint(text):
    return lambda path: path.with_name(f"{recording_name(path)}.yaml").write_text(f"{text}\n")


def replace_header(path):
    header = next(path.rglob("*.oebin"), None) or next(path.rglob("*.meta"), path)
    header.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)


def no_damage(path):
    pass


MAJOR = ("MaxWell", "Multi Channel Systems", "Intan", "Open Ephys", "SpikeGLX")
COMMON_FAULTS = {
    "all flat": (lambda counts: np.full_like(counts, 7), no_damage, {"flat"}, "flat: "),
    "too short": (lambda counts: counts[:600], no_damage, {"duration"}, r"0\.0.* s\b.*0\.1 s"),
    "no samples": (lambda counts: counts[:0], no_damage, {"recording-empty"}, "run"),
    "clipped": (lambda counts: np.minimum(counts, -50), no_damage, {"clipping"}, "clipping: "),
    "another header": (lambda counts: counts, replace_header, {"file-damaged"}, "run"),
    "unknown unit": (lambda counts: counts, add_hint("unit: furlong"), {"unit-unknown"}, "'furlong'"),
    "wrong unit": (lambda counts: counts, add_hint("unit: nV"), {"unit_range"}, r"\d mV .*\d mV "),
    "impossible rate": (lambda counts: counts, add_hint("rate_hz: 0"), {"hint-invalid"}, "rate_hz"),
    "implausible rate": (lambda counts: counts, add_hint("rate_hz: 3"), {"rate", "drift"}, "rate: 3 Hz"),
    "duplicate names": (
        lambda counts: counts,
        add_hint("channel_names: [a, a, b]"),
        {"channel-names-not-unique"},
        "'a'",
    ),
    "unknown excluded channel": (
        lambda counts: counts,
        add_hint("exclude_channels: [zz]"),
        {"channel-unknown"},
        "zz",
    ),
    "sidecar not in YAML": (lambda counts: counts, add_hint("unit: [uV"), {"sidecar-not-yaml"}, "yaml"),
}


@pytest.mark.parametrize("rig_format", MAJOR)
@pytest.mark.parametrize(("change", "spoil", "expected", "pattern"), COMMON_FAULTS.values(), ids=COMMON_FAULTS)
def test_faults_common_to_all_rigs_are_reported(
    lake, folder, rig_writers, counts, causes, rig_format, change, spoil, expected, pattern
):
    path = rig_writers[rig_format](folder, change(counts)).path
    spoil(path)
    outcome = quarantine_of(lake, path)
    assert causes(outcome) <= expected
    assert re.search(pattern, outcome.reason)


@pytest.mark.parametrize("rig_format", ["MaxWell", "Multi Channel Systems", "CL1"])
def test_no_samples_and_no_channels_are_refused(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts[:0]).path
    with pytest.raises(RecordingError, match="run"):
        open_recording(path)
    path.unlink()
    path = rig_writers[rig_format](folder, counts[:, :0]).path
    with pytest.raises(RecordingError, match="run"):
        open_recording(path)


def delete_from(*names):
    """Delete attributes or objects of an HDF5 file."""

    def spoil(path):
        with h5py.File(path, "a") as file:
            for name in names:
                if name in file.attrs:
                    del file.attrs[name]
                else:
                    del file[name]

    return spoil


def change_dataset(name, change):
    """Change a dataset of an HDF5 file."""

    def spoil(path):
        with h5py.File(path, "a") as file:
            content = file[name][:]
            del file[name]
            file[name] = change(content)

    return spoil


def with_field(field, value):
    def change(table):
        table[field] = value
        return table

    return change


def compress_with_unknown_filter(path):
    with h5py.File(path, "a") as file:
        well = file["wells/well000/rec0000/groups/routed"]
        shape = well["raw"].shape
        del well["raw"]
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk(shape)
        layout.set_filter(32_013, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(well.id, b"raw", h5py.h5t.STD_I16LE, h5py.h5s.create_simple(shape), layout)


def store_samples_outside(path):
    elsewhere = path.parents[3] / "elsewhere.bin"
    elsewhere.write_bytes(b"\0" * 4096)
    with h5py.File(path, "a") as file:
        del file["samples"]
        file.create_dataset("samples", (682, 3), "<i2", external=[(str(elsewhere), 0, 4092)])


def add_second_well(path):
    with h5py.File(path, "a") as file:
        file.copy("wells/well000", "wells/well001")


def edit(name, old, new):
    """Replace text in a file of a folder."""

    def spoil(path):
        (file,) = path.rglob(name)
        content = file.read_bytes()
        assert old.encode() in content
        file.write_bytes(content.replace(old.encode(), new.encode()))

    return spoil


def delete_files(name):
    """Delete all files of a folder that match a pattern."""

    def spoil(path):
        for file in list(path.rglob(name)):
            file.unlink()

    return spoil


def change_samples(change):
    """Change the samples of a BrainVision file with floating-point numbers."""

    def spoil(path):
        samples = np.fromfile(path / "run.eeg", "<f4").reshape(-1, 3)
        change(samples)
        samples.tofile(path / "run.eeg")

    return spoil


def not_finite(samples):
    samples[17, 1] = np.inf


def flat(samples):
    samples[:, 2] = 40


def link_out_of_lake(path):
    shutil.move(path / "run.eeg", path.parents[3] / "run.eeg")
    (path / "run.eeg").symlink_to(path.parents[3] / "run.eeg")


def add_pickle(path):
    (array,) = path.glob("channel_ids/.zarray")
    array.write_text(array.read_text().replace('"filters": ', '"filters": [{"id": "pickle"}], "was": '))


WELL = "wells/well000/rec0000"
STREAM = "Data/Recording_0/AnalogStream/Stream_0"
DAMAGED = {
    "MaxWell: no gain": ("MaxWell", delete_from(f"{WELL}/settings/lsb"), "unit-missing", "`unit`"),
    "MaxWell: no rate": ("MaxWell", delete_from(f"{WELL}/settings/sampling"), "rate-unknown", "`rate_hz`"),
    "MaxWell: no mapping": ("MaxWell", delete_from(f"{WELL}/settings/mapping"), "file-damaged", "MaxWell"),
    "MaxWell: incomplete mapping": (
        "MaxWell",
        change_dataset(f"{WELL}/settings/mapping", lambda table: table[:2]),
        "channel-mapping-incomplete",
        "2 of 3 channels",
    ),
    "MaxWell: no samples": ("MaxWell", delete_from(f"{WELL}/groups/routed/raw"), "voltage-series-missing", "run"),
    "MaxWell: two wells": (
        "MaxWell",
        add_second_well,
        "series-not-chosen",
        "well000/rec0000, well001/rec0000.*`series`",
    ),
    "MaxWell: plugin missing": (
        "MaxWell",
        compress_with_unknown_filter,
        "compression-filter-missing",
        "32013.*HDF5_PLUGIN_PATH",
    ),
    "MaxWell: duplicate channel names": (
        "MaxWell",
        change_dataset(f"{WELL}/settings/mapping", with_field("electrode", 7)),
        "channel-names-not-unique",
        "'electrode_7'",
    ),
    "HDF5 of unknown layout": ("CL1", delete_from("samples"), "format-unknown", "MaxWell, Multi"),
    "MCS: not a voltage": (
        "Multi Channel Systems",
        change_dataset(f"{STREAM}/InfoChannel", with_field("Unit", b"A")),
        "voltage-series-missing",
        "run",
    ),
    "MCS: time stamps of fewer samples": (
        "Multi Channel Systems",
        change_dataset(f"{STREAM}/ChannelDataTimeStamps", lambda stamps: stamps - [0, 0, 9]),
        "timestamp-count-mismatch",
        "15360 samples",
    ),
    "MCS: two rates": (
        "Multi Channel Systems",
        change_dataset(f"{STREAM}/InfoChannel", with_field("Tick", [50, 50, 100])),
        "channels-not-uniform",
        r"\[50, 100\] us",
    ),
    "MCS: channel descriptions missing": (
        "Multi Channel Systems",
        change_dataset(f"{STREAM}/InfoChannel", lambda table: table[:2]),
        "channel-count-mismatch",
        "2 channels",
    ),
    "MCS: wrong gain": (
        "Multi Channel Systems",
        change_dataset(f"{STREAM}/InfoChannel", with_field("Exponent", -9)),
        "unit_range",
        r"\b0\.001 ",
    ),
    "CL1: no gain": ("CL1", delete_from("uV_per_sample_unit"), "unit-missing", "`unit`"),
    "CL1: no rate": ("CL1", delete_from("frames_per_second"), "rate-unknown", "`rate_hz`"),
    "CL1: cut off while written": (
        "CL1",
        change_dataset("samples", lambda samples: samples[:-9]),
        "file-cut-off",
        "15360.*15351",
    ),
    "CL1: samples not numeric": (
        "CL1",
        change_dataset("samples", lambda samples: samples.astype("S8")),
        "samples-not-numeric",
        "S8",
    ),
    "CL1: samples in another file": ("CL1", store_samples_outside, "samples-outside-file", "samples"),
    "BrainVision: samples missing": ("BrainVision", delete_files("run.eeg"), "file-part-missing", "'run.eeg'"),
    "BrainVision: samples in another folder": (
        "BrainVision",
        edit("run.vhdr", "DataFile=run.eeg", "DataFile=../run.eeg"),
        "file-part-missing",
        "run",
    ),
    "BrainVision: no unit of voltage": (
        "BrainVision",
        edit("run.vhdr", "µV", "°C"),
        "voltage-series-missing",
        "`series`",
    ),
    "BrainVision: no rate": (
        "BrainVision",
        edit("run.vhdr", "SamplingInterval", "Nothing"),
        "file-damaged",
        "SamplingInterval",
    ),
    "BrainVision: unknown sample format": (
        "BrainVision",
        edit("run.vhdr", "IEEE_FLOAT_32", "UINT_24"),
        "file-damaged",
        "UINT_24",
    ),
    "BrainVision: duplicate channel names": (
        "BrainVision",
        edit("run.vhdr", "=E2,", "=E1,"),
        "channel-names-not-unique",
        "'E1'",
    ),
    "BrainVision: not finite": ("BrainVision", change_samples(not_finite), "finite", r"1 samples .* 0\.017 s.* E2"),
    "BrainVision: flat": ("BrainVision", change_samples(flat), "flat", "E3"),
    "BrainVision: wrong resolution": ("BrainVision", edit("run.vhdr", ",0.1,", ",100000,"), "unit_range", "run|unit"),
    "Open Ephys: samples missing": ("Open Ephys", delete_files("continuous.dat"), "file-damaged", "Open Ephys"),
    "Open Ephys: damaged structure": ("Open Ephys", edit("structure.oebin", "{", "["), "file-damaged", "Open Ephys"),
    "SpikeGLX: samples missing": ("SpikeGLX", delete_files("*.bin"), "file-damaged", "SpikeGLX"),
    "SpikeGLX: no rate": ("SpikeGLX", edit("*.meta", "imSampRate", "nothing"), "file-damaged", "sampling_rate"),
    "Neuralynx: no gain": ("Neuralynx", edit("CSC1.ncs", "-ADBitVolts", "-NoBitVolts"), "file-damaged", "Neuralynx"),
    "spikeinterface: no samples": (
        "spikeinterface binary",
        delete_files("traces*.raw"),
        "file-damaged",
        "spikeinterface binary",
    ),
    "spikeinterface: samples in another folder": (
        "spikeinterface binary",
        edit("binary.json", '"traces_cached_seg0.raw"', '"../../../elsewhere.raw"'),
        "samples-outside-file",
        "elsewhere.raw",
    ),
    "Zarr: chunk missing": ("spikeinterface Zarr", delete_files("traces_seg0/0.0"), "chunks-missing", "1 of"),
    "Zarr: a pickle": ("spikeinterface Zarr", add_pickle, "pickle-refused", "pickle"),
}


@pytest.mark.parametrize(("rig_format", "spoil", "cause", "pattern"), DAMAGED.values(), ids=DAMAGED)
def test_a_bad_file_is_quarantined_with_its_reason(
    lake, folder, rig_writers, counts, causes, rig_format, spoil, cause, pattern
):
    path = rig_writers[rig_format](folder, counts).path
    spoil(path)
    outcome = quarantine_of(lake, path)
    assert causes(outcome) == {cause}
    assert re.search(pattern, outcome.reason)


def test_a_recording_with_a_link_out_of_the_lake_is_not_used(lake, folder, rig_writers, counts):
    link_out_of_lake(rig_writers["BrainVision"](folder, counts).path)
    listing = list_raw(lake)
    assert listing.found == {}
    assert listing.errors["org/run"].code == "link-out-of-lake"


def test_a_folder_that_matches_two_formats_or_none_is_not_used(lake, folder, rig_writers, counts):
    path = rig_writers["BrainVision"](folder, counts).path
    (path / "CSC1.ncs").write_bytes(b"")
    (folder / "notes").mkdir()
    listing = list_raw(lake)
    assert {path: error.code for path, error in listing.errors.items()} == {
        "org/run": "format-ambiguous",
        "org/notes": "format-unknown",
    }
    assert "BrainVision and Neuralynx" in listing.refused["org/run"]


def test_a_gap_in_an_mcs_stream_begins_a_segment(tmp_path, rig_writers, counts):
    path = rig_writers["Multi Channel Systems"](tmp_path, counts).path
    # 5,000 samples of 50 us from 0.1 s, then a gap of 1 s.
    change_dataset(
        f"{STREAM}/ChannelDataTimeStamps",
        lambda stamps: np.array([[100_000, 0, 4999], [1_350_000, 5000, len(counts) - 1]]),
    )(path)
    assert open_recording(path).segment_starts == (0, 5000)


def test_a_pickle_in_an_attribute_is_not_loaded(tmp_path, rig_writers, counts):
    path = rig_writers["CL1"](tmp_path, counts).path
    with h5py.File(path, "a") as file:
        file.attrs["application"] = np.void(b"cposix\nmkdir\n(S'" + str(tmp_path / "executed").encode() + b"'\ntR.")
    recording = open_recording(path)
    recording.read_mv(0, 10)
    assert "application" not in recording.facts
    assert not (tmp_path / "executed").exists()
