"""A rig's file that is damaged, incomplete or ambiguous ends in quarantine with its reason; nothing is half-written."""

import re
import shutil

import h5py
import numpy as np
import pytest

from voltpipe.lake import RecordingKey
from voltpipe.recordings.catalogue import quarantined
from voltpipe.recordings.condition_raw import Verdict, condition_raw
from voltpipe.recordings.formats.registry import recording_name
from voltpipe.recordings.open_recording import open_recording
from voltpipe.recordings.raw import find_raw
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings

SETTINGS = ConditioningSettings(trim_ms=0, calibration_s=0.1, minimum_s=0.1)


@pytest.fixture
def folder(lake):
    folder = lake.raw / "org"
    folder.mkdir(parents=True)
    return folder


def reason_of_quarantine(lake, path):
    """What becomes of a recording whose file is bad: the reason, once nothing else is found to have been written."""
    (key,) = find_raw(lake).found or [RecordingKey("org", path.stem)]
    outcome = condition_raw(lake, key, SETTINGS)
    assert outcome.verdict is Verdict.QUARANTINED
    assert quarantined(lake)[key].reason == outcome.reason
    kept = {lake.raw, lake.history}
    written = [path.name for path in lake.root.rglob("*") if path.is_file() and not kept & set(path.parents)]
    assert sorted(name for name in written if name != ".lock") == [f"{key.recording}.json"]
    return outcome.reason


def samples_file(path):
    """The file that holds the samples, or a channel's."""
    return path if path.is_file() else max(path.rglob("*"), key=lambda part: part.is_file() and part.stat().st_size)


def test_a_good_file_is_conditioned(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts).path
    (key,) = find_raw(lake).found
    assert find_raw(lake).found[key] == path
    outcome = condition_raw(lake, key, SETTINGS)
    assert (outcome.verdict, outcome.reason) == (Verdict.CONDITIONED, "")


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.01])
def test_a_file_that_was_cut_off_is_refused(lake, folder, rig_format, rig_writers, counts, kept):
    path = rig_writers[rig_format](folder, counts).path
    file = samples_file(path)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept) // 2 * 2 - 1])
    reason_of_quarantine(lake, path)


def test_a_file_without_content_is_refused(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts).path
    samples_file(path).write_bytes(b"")
    reason_of_quarantine(lake, path)


@pytest.mark.parametrize(
    "rig_format", ["MaxWell", "Multi Channel Systems", "CL1", "Intan", "Multi Channel Systems raw"]
)
def test_another_files_content_is_refused(lake, folder, rig_format, rig_writers, counts):
    path = rig_writers[rig_format](folder, counts).path
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    assert re.search(r"run\.", reason_of_quarantine(lake, path))


def hinted(text):
    return lambda path: path.with_name(f"{recording_name(path)}.yaml").write_text(f"{text}\n")


def header_of_another_file(path):
    header = next(path.rglob("*.oebin"), None) or next(path.rglob("*.meta"), path)
    header.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)


def nothing_spoilt(path):
    pass


MAJOR = ("MaxWell", "Multi Channel Systems", "Intan", "Open Ephys", "SpikeGLX")
ANYWHERE = {
    "all flat": (lambda counts: np.full_like(counts, 7), nothing_spoilt, "flat: channels that never change"),
    "too short": (lambda counts: counts[:600], nothing_spoilt, "duration: 0.0.* s long, 0.1 s are needed"),
    "no samples": (lambda counts: counts[:0], nothing_spoilt, "run"),
    "clipped": (lambda counts: np.minimum(counts, -50), nothing_spoilt, "clipping: up to"),
    "another header": (lambda counts: counts, header_of_another_file, "run"),
    "unknown unit": (lambda counts: counts, hinted("unit: furlong"), "unit 'furlong' is not known"),
    "wrong unit": (lambda counts: counts, hinted("unit: nV"), "unit_range: .*not plausible"),
    "impossible rate": (lambda counts: counts, hinted("rate_hz: 0"), "rate_hz"),
    "implausible rate": (lambda counts: counts, hinted("rate_hz: 3"), "rate: 3 Hz is not plausible"),
    "named twice": (lambda counts: counts, hinted("channel_names: [a, a, b]"), "channel names must differ"),
    "a channel to leave out that is not there": (
        lambda counts: counts,
        hinted("exclude_channels: [zz]"),
        "not there: zz",
    ),
    "a sidecar that is no YAML": (lambda counts: counts, hinted("unit: [uV"), "yaml"),
}


@pytest.mark.parametrize("rig_format", MAJOR)
@pytest.mark.parametrize(("change", "spoil", "reason"), ANYWHERE.values(), ids=ANYWHERE)
def test_what_may_be_wrong_with_any_rigs_file_is_named(
    lake, folder, rig_writers, counts, rig_format, change, spoil, reason
):
    path = rig_writers[rig_format](folder, change(counts)).path
    spoil(path)
    assert re.search(reason, reason_of_quarantine(lake, path))


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
    "MaxWell: no gain": ("MaxWell", without(f"{WELL}/settings/lsb"), "hint `unit`"),
    "MaxWell: no rate": ("MaxWell", without(f"{WELL}/settings/sampling"), "hint `rate_hz`"),
    "MaxWell: no mapping": ("MaxWell", without(f"{WELL}/settings/mapping"), "damaged or no MaxWell file"),
    "MaxWell: mapping of others": (
        "MaxWell",
        changed(f"{WELL}/settings/mapping", lambda table: table[:2]),
        "the mapping fits 2 of 3 channels",
    ),
    "MaxWell: no samples in it": ("MaxWell", without(f"{WELL}/groups/routed/raw"), "no series of voltages"),
    "MaxWell: two wells": ("MaxWell", second_well, "well000/rec0000, well001/rec0000.*hint `series`"),
    "MaxWell: plugin missing": ("MaxWell", compressed_by_an_unknown_filter, "HDF5_PLUGIN_PATH"),
    "MaxWell: channels named twice": (
        "MaxWell",
        changed(f"{WELL}/settings/mapping", with_field("electrode", 7)),
        "channel names must differ",
    ),
    "HDF5 of another kind": ("CL1", without("samples"), "HDF5 of no known layout; expected MaxWell, Multi"),
    "MCS: another unit": (
        "Multi Channel Systems",
        changed(f"{STREAM}/InfoChannel", with_field("Unit", b"A")),
        "no series",
    ),
    "MCS: stamps of fewer samples": (
        "Multi Channel Systems",
        changed(f"{STREAM}/ChannelDataTimeStamps", lambda stamps: stamps - [0, 0, 9]),
        "time stamps do not cover",
    ),
    "MCS: two rates": (
        "Multi Channel Systems",
        changed(f"{STREAM}/InfoChannel", with_field("Tick", [50, 50, 100])),
        r"sampling steps \[50, 100\] us",
    ),
    "MCS: described channels lack": (
        "Multi Channel Systems",
        changed(f"{STREAM}/InfoChannel", lambda table: table[:2]),
        "2 channels are described",
    ),
    "MCS: wrong gain": (
        "Multi Channel Systems",
        changed(f"{STREAM}/InfoChannel", with_field("Exponent", -9)),
        r"unit_range: .*multiplied by 0\.001",
    ),
    "CL1: no gain": ("CL1", without("uV_per_sample_unit"), "hint `unit`"),
    "CL1: no rate": ("CL1", without("frames_per_second"), "hint `rate_hz`"),
    "CL1: cut off while written": (
        "CL1",
        changed("samples", lambda samples: samples[:-9]),
        "states .*15360.* and holds",
    ),
    "CL1: samples of words": ("CL1", changed("samples", lambda samples: samples.astype("S8")), "expected integers or"),
    "CL1: samples elsewhere": ("CL1", outside_the_file, "lies in another file"),
    "BrainVision: samples lack": ("BrainVision", lacking("run.eeg"), "'run.eeg', which is not beside it"),
    "BrainVision: samples in a path": (
        "BrainVision",
        edited("run.vhdr", "DataFile=run.eeg", "DataFile=../run.eeg"),
        "not beside it",
    ),
    "BrainVision: no unit of voltage": ("BrainVision", edited("run.vhdr", "µV", "°C"), "hint `"),
    "BrainVision: no rate": ("BrainVision", edited("run.vhdr", "SamplingInterval", "Nothing"), "SamplingInterval"),
    "BrainVision: unknown samples": ("BrainVision", edited("run.vhdr", "IEEE_FLOAT_32", "UINT_24"), "UINT_24"),
    "BrainVision: named twice": ("BrainVision", edited("run.vhdr", "=E2,", "=E1,"), "must differ.*'E1'"),
    "BrainVision: not finite": ("BrainVision", samples_changed(not_finite), r"finite: 1 samples .* 0\.017 s.* E2"),
    "BrainVision: flat": ("BrainVision", samples_changed(flat), "flat: .*E3"),
    "BrainVision: wrong resolution": ("BrainVision", edited("run.vhdr", ",0.1,", ",100000,"), "unit_range"),
    "Open Ephys: samples lack": ("Open Ephys", lacking("continuous.dat"), "no Open Ephys file"),
    "Open Ephys: no structure in it": ("Open Ephys", edited("structure.oebin", "{", "["), "no Open Ephys file"),
    "SpikeGLX: samples lack": ("SpikeGLX", lacking("*.bin"), "no SpikeGLX file"),
    "SpikeGLX: no rate": ("SpikeGLX", edited("*.meta", "imSampRate", "nothing"), "sampling_rate"),
    "Neuralynx: no gain": ("Neuralynx", edited("CSC1.ncs", "-ADBitVolts", "-NoBitVolts"), "no Neuralynx file"),
    "spikeinterface: no samples": ("spikeinterface binary", lacking("traces*.raw"), "no spikeinterface binary file"),
    "spikeinterface: samples elsewhere": (
        "spikeinterface binary",
        edited("binary.json", '"traces_cached_seg0.raw"', '"../../../elsewhere.raw"'),
        "lies outside the folder",
    ),
    "Zarr: a chunk lacks": ("spikeinterface Zarr", lacking("traces_seg0/0.0"), "lacks 1 of"),
    "Zarr: a pickle": ("spikeinterface Zarr", with_a_pickle, "holds pickles"),
}


@pytest.mark.parametrize(("rig_format", "spoil", "reason"), SPOILT.values(), ids=SPOILT)
def test_a_bad_file_is_quarantined_with_its_reason(lake, folder, rig_writers, counts, rig_format, spoil, reason):
    path = rig_writers[rig_format](folder, counts).path
    spoil(path)
    assert re.search(reason, reason_of_quarantine(lake, path))


def test_a_part_that_is_a_link_out_of_the_lake_is_not_used(lake, folder, rig_writers, counts):
    linked_elsewhere(rig_writers["BrainVision"](folder, counts).path)
    listing = find_raw(lake)
    assert listing.found == {}
    assert "link out of the lake" in listing.refused["org/run"]


def test_a_folder_of_two_formats_or_of_none_is_not_used(lake, folder, rig_writers, counts):
    path = rig_writers["BrainVision"](folder, counts).path
    (path / "CSC1.ncs").write_bytes(b"")
    (folder / "notes").mkdir()
    refused = find_raw(lake).refused
    assert "a folder of BrainVision and Neuralynx" in refused["org/run"]
    assert "no known format" in refused["org/notes"]


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
