"""A rig's file that is damaged, incomplete or ambiguous ends in quarantine with its reason; nothing is half-written."""

import re
import shutil

import h5py
import numpy as np
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.formats.format_registry import recording_name
from voltpipe.recordings.raw.catalogue import Verdict, read_quarantine
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.raw_folder import list_raw
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings

SETTINGS = ConditioningSettings(trim_ms=0, calibration_s=0.1, minimum_s=0.1)


@pytest.fixture
def folder(lake):
    folder = lake.raw / "org"
    folder.mkdir(parents=True)
    return folder


def quarantine_of(lake, path):
    """Condition a recording whose file is bad; check that it is quarantined and nothing else is written."""
    (key,) = list_raw(lake).found or [RecordingKey("org", path.stem)]
    outcome = condition_raw(lake, key, SETTINGS)
    assert outcome.verdict is Verdict.QUARANTINED
    assert read_quarantine(lake)[key].reason == outcome.reason
    kept = {lake.raw, lake.history}
    written = [path.name for path in lake.root.rglob("*") if path.is_file() and not kept & set(path.parents)]
    assert sorted(name for name in written if name != ".lock") == [f"{key.recording}.json"]
    return outcome


def samples_file(path):
    """The file that holds the samples, or a channel's."""
    return path if path.is_file() else max(path.rglob("*"), key=lambda part: part.is_file() and part.stat().st_size)


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
def test_another_files_content_is_refused(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts).path
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    assert re.search(r"run\.", quarantine_of(lake, path).reason)


def hinted(text):
    return lambda path: path.with_name(f"{recording_name(path)}.yaml").write_text(f"{text}\n")


def header_of_another_file(path):
    header = next(path.rglob("*.oebin"), None) or next(path.rglob("*.meta"), path)
    header.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)


def nothing_spoilt(path):
    pass


MAJOR = ("MaxWell", "Multi Channel Systems", "Intan", "Open Ephys", "SpikeGLX")
ANYWHERE = {
    "all flat": (lambda counts: np.full_like(counts, 7), nothing_spoilt, {"flat"}, "flat: "),
    "too short": (lambda counts: counts[:600], nothing_spoilt, {"duration"}, r"0\.0.* s .*0\.1 s"),
    "no samples": (lambda counts: counts[:0], nothing_spoilt, {"recording-empty"}, "run"),
    "clipped": (lambda counts: np.minimum(counts, -50), nothing_spoilt, {"clipping"}, "clipping: "),
    "another header": (lambda counts: counts, header_of_another_file, {"file-damaged"}, "run"),
    "unknown unit": (lambda counts: counts, hinted("unit: furlong"), {"unit-unknown"}, "'furlong'"),
    "wrong unit": (lambda counts: counts, hinted("unit: nV"), {"unit_range"}, r"\d mV .*\d mV "),
    "impossible rate": (lambda counts: counts, hinted("rate_hz: 0"), {"hint-invalid"}, "rate_hz"),
    "implausible rate": (lambda counts: counts, hinted("rate_hz: 3"), {"rate", "drift"}, "rate: 3 Hz"),
    "named twice": (lambda counts: counts, hinted("channel_names: [a, a, b]"), {"channel-names-not-unique"}, "'a'"),
    "a channel to leave out that is not there": (
        lambda counts: counts,
        hinted("exclude_channels: [zz]"),
        {"channel-unknown"},
        "zz",
    ),
    "a sidecar that is no YAML": (lambda counts: counts, hinted("unit: [uV"), {"sidecar-not-yaml"}, "yaml"),
}


@pytest.mark.parametrize("rig_format", MAJOR)
@pytest.mark.parametrize(("change", "spoil", "expected", "named"), ANYWHERE.values(), ids=ANYWHERE)
def test_what_may_be_wrong_with_any_rigs_file_is_named(
    lake, folder, rig_writers, counts, causes, rig_format, change, spoil, expected, named
):
    path = rig_writers[rig_format](folder, change(counts)).path
    spoil(path)
    outcome = quarantine_of(lake, path)
    assert causes(outcome) <= expected
    assert re.search(named, outcome.reason)


@pytest.mark.parametrize("rig_format", ["MaxWell", "Multi Channel Systems", "CL1"])
def test_no_samples_and_no_channels_are_refused(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts[:0]).path
    with pytest.raises(RecordingError, match="run"):
        open_recording(path)
    path.unlink()
    path = rig_writers[rig_format](folder, counts[:, :0]).path
    with pytest.raises(RecordingError, match="run"):
        open_recording(path)


def without(*names):
    """Takes attributes or objects out of an HDF5 file."""

    def spoil(path):
        with h5py.File(path, "a") as file:
            for name in names:
                if name in file.attrs:
                    del file.attrs[name]
                else:
                    del file[name]

    return spoil


def changed(name, change):
    """Replaces a dataset of an HDF5 file by a changed one."""

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


def compressed_by_an_unknown_filter(path):
    with h5py.File(path, "a") as file:
        well = file["wells/well000/rec0000/groups/routed"]
        shape = well["raw"].shape
        del well["raw"]
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk(shape)
        layout.set_filter(32_013, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(well.id, b"raw", h5py.h5t.STD_I16LE, h5py.h5s.create_simple(shape), layout)


def outside_the_file(path):
    elsewhere = path.parents[3] / "elsewhere.bin"
    elsewhere.write_bytes(b"\0" * 4096)
    with h5py.File(path, "a") as file:
        del file["samples"]
        file.create_dataset("samples", (682, 3), "<i2", external=[(str(elsewhere), 0, 4092)])


def second_well(path):
    with h5py.File(path, "a") as file:
        file.copy("wells/well000", "wells/well001")


def edited(name, old, new):
    """Edits a text file of a folder."""

    def spoil(path):
        (file,) = path.rglob(name)
        content = file.read_bytes()
        assert old.encode() in content
        file.write_bytes(content.replace(old.encode(), new.encode()))

    return spoil


def lacking(name):
    """Takes a file, or all files of a folder's pattern, out of a folder."""

    def spoil(path):
        for file in list(path.rglob(name)):
            file.unlink()

    return spoil


def samples_changed(change):
    """Changes the samples of a BrainVision file of floating-point numbers."""

    def spoil(path):
        samples = np.fromfile(path / "run.eeg", "<f4").reshape(-1, 3)
        change(samples)
        samples.tofile(path / "run.eeg")

    return spoil


def not_finite(samples):
    samples[17, 1] = np.inf


def flat(samples):
    samples[:, 2] = 40


def linked_elsewhere(path):
    shutil.move(path / "run.eeg", path.parents[3] / "run.eeg")
    (path / "run.eeg").symlink_to(path.parents[3] / "run.eeg")


def with_a_pickle(path):
    (array,) = path.glob("channel_ids/.zarray")
    array.write_text(array.read_text().replace('"filters": ', '"filters": [{"id": "pickle"}], "was": '))


WELL = "wells/well000/rec0000"
STREAM = "Data/Recording_0/AnalogStream/Stream_0"
SPOILT = {
    "MaxWell: no gain": ("MaxWell", without(f"{WELL}/settings/lsb"), "unit-missing", "`unit`"),
    "MaxWell: no rate": ("MaxWell", without(f"{WELL}/settings/sampling"), "rate-unknown", "`rate_hz`"),
    "MaxWell: no mapping": ("MaxWell", without(f"{WELL}/settings/mapping"), "file-damaged", "MaxWell"),
    "MaxWell: mapping of others": (
        "MaxWell",
        changed(f"{WELL}/settings/mapping", lambda table: table[:2]),
        "channel-mapping-incomplete",
        "2 of 3 channels",
    ),
    "MaxWell: no samples in it": ("MaxWell", without(f"{WELL}/groups/routed/raw"), "voltage-series-missing", "run"),
    "MaxWell: two wells": ("MaxWell", second_well, "series-not-chosen", "well000/rec0000, well001/rec0000.*`series`"),
    "MaxWell: plugin missing": (
        "MaxWell",
        compressed_by_an_unknown_filter,
        "compression-filter-missing",
        "32013.*HDF5_PLUGIN_PATH",
    ),
    "MaxWell: channels named twice": (
        "MaxWell",
        changed(f"{WELL}/settings/mapping", with_field("electrode", 7)),
        "channel-names-not-unique",
        "'electrode_7'",
    ),
    "HDF5 of another kind": ("CL1", without("samples"), "format-unknown", "MaxWell, Multi"),
    "MCS: another unit": (
        "Multi Channel Systems",
        changed(f"{STREAM}/InfoChannel", with_field("Unit", b"A")),
        "voltage-series-missing",
        "run",
    ),
    "MCS: stamps of fewer samples": (
        "Multi Channel Systems",
        changed(f"{STREAM}/ChannelDataTimeStamps", lambda stamps: stamps - [0, 0, 9]),
        "timestamp-count-mismatch",
        "15360 samples",
    ),
    "MCS: two rates": (
        "Multi Channel Systems",
        changed(f"{STREAM}/InfoChannel", with_field("Tick", [50, 50, 100])),
        "channels-not-uniform",
        r"\[50, 100\] us",
    ),
    "MCS: described channels lack": (
        "Multi Channel Systems",
        changed(f"{STREAM}/InfoChannel", lambda table: table[:2]),
        "channel-count-mismatch",
        "2 channels",
    ),
    "MCS: wrong gain": (
        "Multi Channel Systems",
        changed(f"{STREAM}/InfoChannel", with_field("Exponent", -9)),
        "unit_range",
        r"\b0\.001 ",
    ),
    "CL1: no gain": ("CL1", without("uV_per_sample_unit"), "unit-missing", "`unit`"),
    "CL1: no rate": ("CL1", without("frames_per_second"), "rate-unknown", "`rate_hz`"),
    "CL1: cut off while written": (
        "CL1",
        changed("samples", lambda samples: samples[:-9]),
        "file-cut-off",
        "15360.*15351",
    ),
    "CL1: samples of words": (
        "CL1",
        changed("samples", lambda samples: samples.astype("S8")),
        "samples-not-numeric",
        "S8",
    ),
    "CL1: samples elsewhere": ("CL1", outside_the_file, "samples-outside-file", "samples"),
    "BrainVision: samples lack": ("BrainVision", lacking("run.eeg"), "file-part-missing", "'run.eeg'"),
    "BrainVision: samples in a path": (
        "BrainVision",
        edited("run.vhdr", "DataFile=run.eeg", "DataFile=../run.eeg"),
        "file-part-missing",
        "run",
    ),
    "BrainVision: no unit of voltage": (
        "BrainVision",
        edited("run.vhdr", "µV", "°C"),
        "voltage-series-missing",
        "`series`",
    ),
    "BrainVision: no rate": (
        "BrainVision",
        edited("run.vhdr", "SamplingInterval", "Nothing"),
        "file-damaged",
        "SamplingInterval",
    ),
    "BrainVision: unknown samples": (
        "BrainVision",
        edited("run.vhdr", "IEEE_FLOAT_32", "UINT_24"),
        "file-damaged",
        "UINT_24",
    ),
    "BrainVision: named twice": ("BrainVision", edited("run.vhdr", "=E2,", "=E1,"), "channel-names-not-unique", "'E1'"),
    "BrainVision: not finite": ("BrainVision", samples_changed(not_finite), "finite", r"1 samples .* 0\.017 s.* E2"),
    "BrainVision: flat": ("BrainVision", samples_changed(flat), "flat", "E3"),
    "BrainVision: wrong resolution": ("BrainVision", edited("run.vhdr", ",0.1,", ",100000,"), "unit_range", "run|unit"),
    "Open Ephys: samples lack": ("Open Ephys", lacking("continuous.dat"), "file-damaged", "Open Ephys"),
    "Open Ephys: no structure in it": ("Open Ephys", edited("structure.oebin", "{", "["), "file-damaged", "Open Ephys"),
    "SpikeGLX: samples lack": ("SpikeGLX", lacking("*.bin"), "file-damaged", "SpikeGLX"),
    "SpikeGLX: no rate": ("SpikeGLX", edited("*.meta", "imSampRate", "nothing"), "file-damaged", "sampling_rate"),
    "Neuralynx: no gain": ("Neuralynx", edited("CSC1.ncs", "-ADBitVolts", "-NoBitVolts"), "file-damaged", "Neuralynx"),
    "spikeinterface: no samples": (
        "spikeinterface binary",
        lacking("traces*.raw"),
        "file-damaged",
        "spikeinterface binary",
    ),
    "spikeinterface: samples elsewhere": (
        "spikeinterface binary",
        edited("binary.json", '"traces_cached_seg0.raw"', '"../../../elsewhere.raw"'),
        "samples-outside-file",
        "elsewhere.raw",
    ),
    "Zarr: a chunk lacks": ("spikeinterface Zarr", lacking("traces_seg0/0.0"), "chunks-missing", "1 of"),
    "Zarr: a pickle": ("spikeinterface Zarr", with_a_pickle, "pickle-refused", "pickle"),
}


@pytest.mark.parametrize(("rig_format", "spoil", "cause", "named"), SPOILT.values(), ids=SPOILT)
def test_a_bad_file_is_quarantined_with_its_reason(
    lake, folder, rig_writers, counts, causes, rig_format, spoil, cause, named
):
    path = rig_writers[rig_format](folder, counts).path
    spoil(path)
    outcome = quarantine_of(lake, path)
    assert causes(outcome) == {cause}
    assert re.search(named, outcome.reason)


def test_a_part_that_is_a_link_out_of_the_lake_is_not_used(lake, folder, rig_writers, counts):
    linked_elsewhere(rig_writers["BrainVision"](folder, counts).path)
    listing = list_raw(lake)
    assert listing.found == {}
    assert listing.errors["org/run"].code == "link-out-of-lake"


def test_a_folder_of_two_formats_or_of_none_is_not_used(lake, folder, rig_writers, counts):
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
    # 5,000 samples of 50 us from 0.1 s on, then a second's gap.
    changed(
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
