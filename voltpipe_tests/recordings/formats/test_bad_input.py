"""Bad files of all table and array formats are quarantined with a reason, and nothing is half-written.

`test_bad_rig_files.py` tests the formats of rigs, and `test_planted_faults.py` faults of the signal alone.
"""

import re

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from voltpipe.lake.keys import RecordingKey
from voltpipe.lake.paths import Lake
from voltpipe.recordings.conditioning.condition_raw import condition_raw
from voltpipe.recordings.raw.raw_folder import list_raw
from voltpipe.recordings.raw.recording_records import read_quarantine
from voltpipe.recordings.settings import ConditioningSettings

SETTINGS = ConditioningSettings(trim_ms=0, calibration_s=0.2, minimum_s=0.2)
FORMATS = ("nwb", "dat", "csv", "npy", "npz", "parquet")
KEY = RecordingKey("org", "run")


def content(change):
    """Replace the content of the file."""

    def spoil(path, signal_mv, write):
        write(path, signal_mv)
        path.write_bytes(change(path.read_bytes()))

    return spoil


def samples(change):
    """Write changed samples."""
    return lambda path, signal_mv, write: write(path, change(signal_mv))


def hint(text):
    """Set a line of the sidecar."""

    def spoil(path, signal_mv, write):
        write(path, signal_mv)
        sidecar = path.with_suffix(".yaml")
        lines = sidecar.read_text().splitlines() if sidecar.exists() else []
        name = text.partition(":")[0]
        sidecar.write_text("\n".join([*(line for line in lines if not line.startswith(name)), text, ""]))

    return spoil


def no_channels(path, signal_mv, write):
    if path.suffix != ".nwb":
        write(path, signal_mv[:, :0])
        return
    write(path, signal_mv)
    with h5py.File(path, "a") as file:
        series = file["acquisition/voltage"]
        attributes = dict(series["data"].attrs)
        del series["data"]
        series.create_dataset("data", (len(signal_mv), 0), np.float32).attrs.update(attributes)


def one_sample(value):
    def change(signal_mv):
        signal_mv[300, 1] = value
        return signal_mv

    return samples(change)


def without_rate(path, signal_mv, write):
    names = ("a", "b", "c")
    match path.suffix:
        case ".nwb":
            write(path, signal_mv)
            with h5py.File(path, "a") as file:
                del file["acquisition/voltage/starting_time"]
        case ".dat":
            write(path, signal_mv[:1])
        case ".csv":
            np.savetxt(path, signal_mv, delimiter=",", header="a (mV),b (mV),c (mV)", comments="")
        case ".npy":
            np.save(path, signal_mv)
            path.with_suffix(".yaml").write_text("unit: mV\n")
        case ".npz":
            np.savez(path, voltage=signal_mv, unit="mV")
        case ".parquet":
            table = pa.table({name: signal_mv[:, column] for column, name in enumerate(names)})
            pq.write_table(table.replace_schema_metadata({"unit": "mV"}), path)


def without_unit(path, signal_mv, write):
    names = ("a", "b", "c")
    match path.suffix:
        case ".nwb":
            write(path, signal_mv)
            with h5py.File(path, "a") as file:
                file["acquisition/voltage/data"].attrs["unit"] = "a.u."
        case ".csv":
            rows = np.column_stack([np.arange(len(signal_mv)) / 1000, signal_mv])
            np.savetxt(path, rows, fmt="%.9g", delimiter=",", header="time_s,a,b,c", comments="")
        case ".npy":
            np.save(path, signal_mv)
            path.with_suffix(".yaml").write_text("rate_hz: 1000\n")
        case ".npz":
            np.savez(path, voltage=signal_mv, rate_hz=1000.0)
        case ".parquet":
            table = pa.table({name: signal_mv[:, column] for column, name in enumerate(names)})
            pq.write_table(table.replace_schema_metadata({"rate_hz": "1000"}), path)


def change_of_rate(path, signal_mv, write):
    time_s = np.arange(len(signal_mv)) / 1000
    time_s[500:] = time_s[500] + 4 * (time_s[500:] - time_s[500])
    match path.suffix:
        case ".nwb":
            write(path, signal_mv, timestamps=time_s)
        case ".dat":
            np.savetxt(path, np.column_stack([1000 * time_s, signal_mv]), fmt="%.9g")
        case ".csv":
            header = "time_s,a (mV),b (mV),c (mV)"
            np.savetxt(
                path, np.column_stack([time_s, signal_mv]), fmt="%.9g", delimiter=",", header=header, comments=""
            )
        case ".parquet":
            columns = {"time_s": time_s} | {name: signal_mv[:, i] for i, name in enumerate("abc")}
            pq.write_table(pa.table(columns).replace_schema_metadata({"unit": "mV"}), path)


def ragged(path, signal_mv, write):
    write(path, signal_mv)
    lines = path.read_text().splitlines()
    lines[400] = lines[400].rpartition("," if path.suffix == ".csv" else " ")[0]
    path.write_text("\n".join([*lines, ""]))


KINDS = {
    "empty": (content(lambda _: b""), {"file-empty"}, r"run\."),
    "cut off": (content(lambda intact: intact[: len(intact) // 2 - 1]), {"file-cut-off", "file-damaged"}, r"run\."),
    "a picture": (
        content(lambda _: b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40),
        {"file-damaged", "value-not-a-number"},
        r"run\.",
    ),
    "zeros": (content(lambda intact: bytes(len(intact))), {"file-cut-off", "file-damaged"}, r"run\."),
    "no channels": (no_channels, {"recording-empty", "voltage-column-missing"}, r"run\."),
    "no samples": (
        samples(lambda signal_mv: signal_mv[:0]),
        {"recording-empty", "file-empty", "rows-missing"},
        r"run\.",
    ),
    "no rate": (without_rate, {"rate-unknown", "timestamps-too-few"}, "`rate_hz`"),
    "no unit": (without_unit, {"unit-missing", "voltage-series-missing"}, r"run\."),
    "unknown unit": (hint("unit: furlong"), {"unit-unknown"}, "'furlong'"),
    "impossible rate": (hint("rate_hz: -1"), {"hint-invalid"}, "rate_hz"),
    "unknown hint": (hint("sampling: 3"), {"hint-unknown"}, "sampling"),
    "NaN": (one_sample(np.nan), {"finite"}, r"\b1 samples .* 0\.3 s"),
    "infinite": (one_sample(-np.inf), {"finite"}, r"\b1 samples .* 0\.3 s"),
    "all flat": (samples(lambda signal_mv: np.full_like(signal_mv, -60)), {"flat"}, "flat: "),
    "duplicate names": (hint("channel_names: [a, a, b]"), {"channel-names-not-unique"}, "'a'"),
    "too short": (samples(lambda signal_mv: signal_mv[:150]), {"duration"}, r"0\.15 s"),
    "change of rate": (change_of_rate, {"rate-changes"}, "sample 500, .*1000 Hz .*250 Hz"),
    "ragged": (ragged, {"column-count-mismatch"}, r"line \d+ .*3 columns"),
}
DOES_NOT_APPLY = {
    ("no unit", "dat"),  # always mV
    *(("change of rate", extension) for extension in ("npy", "npz")),  # no time stamps
    *(("ragged", extension) for extension in ("nwb", "npy", "npz", "parquet")),
}
CASES = [(kind, extension) for kind in KINDS for extension in FORMATS if (kind, extension) not in DOES_NOT_APPLY]


@pytest.mark.parametrize(("kind", "extension"), CASES, ids=[f"{kind}: {extension}" for kind, extension in CASES])
def test_a_bad_file_is_quarantined_with_its_reason(lake, writers, make_signal, causes, kind, extension):
    spoil, expected, pattern = KINDS[kind]
    path = lake.raw / "org" / f"run.{extension}"
    path.parent.mkdir(parents=True)
    spoil(path, make_signal(1000), writers[extension])
    raw = path.read_bytes()
    assert list(list_raw(lake).found) == [KEY]
    outcome = condition_raw(lake, KEY, SETTINGS)
    assert causes(outcome) <= expected
    assert re.search(pattern, outcome.reason)
    assert read_quarantine(lake)[KEY].reason == outcome.reason
    assert path.read_bytes() == raw
    written = {path.name for path in lake.root.rglob("*") if path.is_file() and lake.raw not in path.parents}
    assert written - {".lock"} == {"run.json"}


@pytest.mark.parametrize("name", ["a..b.dat", "..dat", "ru n.dat", "run\n.dat", "rün.dat", "-run.dat", "run--2.dat"])
def test_a_file_whose_name_is_not_allowed_is_reported_and_skipped(lake, put_raw, make_signal, name):
    put_raw("good.dat", make_signal(300))
    put_raw(name, make_signal(300))
    listing = list_raw(lake)
    assert list(listing.found) == [RecordingKey("org", "good")]
    if not name.startswith("."):  # hidden files are not recordings
        assert listing.errors[f"org/{name}"].code == "name-invalid"


def test_bad_folder_names_and_links_out_of_the_lake_do_not_block_other_recordings(tmp_path, lake, put_raw, make_signal):
    put_raw("good.dat", make_signal(300))
    put_raw("run.dat", make_signal(300), organoid="or g")
    outside = Lake(tmp_path / "outside").raw
    outside.mkdir(parents=True)
    (outside / "secret.dat").write_text("0 -70\n")
    (lake.raw / "linked").symlink_to(outside)
    (lake.raw / "org" / "secret.dat").symlink_to(outside / "secret.dat")
    (lake.raw / "org" / "dangling.dat").symlink_to(outside / "nothing.dat")
    listing = list_raw(lake)
    assert list(listing.found) == [RecordingKey("org", "good")]
    assert sorted(listing.refused) == ["linked/secret.dat", "or g/run.dat", "org/dangling.dat", "org/secret.dat"]
    for name in ("linked/secret.dat", "org/secret.dat", "org/dangling.dat"):
        assert listing.errors[name].code == "link-out-of-lake"
