"""Text files, CSV files and table headers are read, and errors name the line."""

import numpy as np
import pytest

from voltpipe.recordings.formats.columns import read_header
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.recording import RecordingError


def write_and_open(path, content, **hints):
    path.write_text(content)
    return open_recording(path, **hints)


def test_a_gap_in_a_text_file_begins_a_segment(tmp_path):
    recording = write_and_open(tmp_path / "run_0_voltages.dat", "0.0 -70\n0.5 -69\n1.0 -68\n9.0 -67\n9.5 -66\n")
    assert recording.segment_starts == (0, 3)
    assert recording.rate_hz == 2000.0


@pytest.mark.parametrize(
    ("content", "code", "named"),
    [
        ("0 -70 -70\n1 -70\n2 -70 -70\n", "column-count-mismatch", "line 2 .*2 columns.* 3"),
        ("0 -70 -70\n\n2 -70 -70\n", "column-count-mismatch", "line 2 .*0 columns"),
        ("0 -70\n1 oops\n2 -70\n", "value-not-a-number", "line 2: 'oops'"),
        ("0 -70\nx -70\n", "value-not-a-number", "line 2: 'x'"),
        ("0 -70\n1 -70\n2 -7", "file-cut-off", "line 3 "),
        ("0 -70\n1 -70\n2 -70\n4.2 -70\n5.2 -70\n6.5 -70\n", "timestamps-irregular", "sample 5 "),
        ("0\n1\n2\n", "voltage-column-missing", "one column"),
        ("0 -70\n", "timestamps-too-few", "1 time stamps"),
    ],
)
def test_an_error_in_a_text_file_is_located(tmp_path, content, code, named):
    with pytest.raises(RecordingError, match=rf"run_0_voltages\.dat.*{named}") as refused:
        write_and_open(tmp_path / "run_0_voltages.dat", content).read_mv(0, 1 + content.count("\n") - 1)
    assert refused.value.code == code


def test_an_error_far_into_a_csv_file_names_the_exact_line(tmp_path):
    rows = ["time_ms,a (mV)", *(f"{i},-70.5" for i in range(2500))]
    rows[2301] = "2300,-70.5.1"
    recording = write_and_open(tmp_path / "r.csv", "\n".join(rows) + "\n")
    np.testing.assert_array_equal(recording.read_mv(2290, 2300), np.full((10, 1), -70.5))
    with pytest.raises(RecordingError, match=r"line 2302: '-70\.5\.1'") as refused:
        recording.read_mv(2000, 2500)
    assert refused.value.code == "value-not-a-number"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_file_may_have_other_delimiters_and_a_byte_order_mark(tmp_path, delimiter):
    rows = [["time_s", '"a (mV)"', "b (mV)"], ["0", "-70", "-60"], ["0.001", "-71", "-61"], ["0.002", "-72", "-62"]]
    content = "\ufeff" + "".join(delimiter.join(row) + "\r\n" for row in rows)
    recording = write_and_open(tmp_path / "r.csv", content)
    assert recording.channel_names == ("a", "b")
    np.testing.assert_array_equal(recording.read_mv(0, 3), [[-70, -60], [-71, -61], [-72, -62]])


def test_a_csv_file_without_time_and_units_needs_hints(tmp_path):
    path = tmp_path / "r.csv"
    with pytest.raises(RecordingError, match="`rate_hz`") as refused:
        write_and_open(path, "a,b\n-70,-60\n-71,-61\n", unit="mV")
    assert refused.value.code == "rate-unknown"
    with pytest.raises(RecordingError, match="`unit`") as refused:
        write_and_open(path, "a,b\n-70,-60\n-71,-61\n", rate_hz=1000)
    assert refused.value.code == "unit-missing"
    recording = write_and_open(path, "a,b\n-70,-60\n-71,-61\n", rate_hz=1000, unit="uV")
    np.testing.assert_allclose(recording.read_mv(0, 1), [[-0.07, -0.06]], rtol=1e-6)


def test_a_header_with_more_names_than_columns_is_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"3 names .* 2 columns") as refused:
        write_and_open(tmp_path / "r.csv", "a,b,c\n-70,-60\n", rate_hz=1000, unit="mV")
    assert refused.value.code == "column-count-mismatch"


def test_duplicate_channel_names_are_refused_and_can_be_replaced(tmp_path):
    content = "a,a\n-70,-60\n-71,-61\n"
    with pytest.raises(RecordingError, match="'a'") as refused:
        write_and_open(tmp_path / "r.csv", content, rate_hz=1000, unit="mV")
    assert refused.value.code == "channel-names-not-unique"
    named = write_and_open(tmp_path / "r.csv", content, rate_hz=1000, unit="mV", channel_names=["a", "b"])
    assert named.channel_names == ("a", "b")


@pytest.mark.parametrize(
    ("header", "unit", "names", "time_column"),
    [
        (["time_s", "ch1 (mV)", "ch2 (mV)"], "mV", ("ch1", "ch2"), 0),
        (["ch1 [uV]", "Time (ms)"], "uV", ("ch1",), 1),
        (["ch1_mv", "ch2_mV"], "mv", ("ch1", "ch2"), None),
        (["soma (left)", "soma (right)"], None, ("soma (left)", "soma (right)"), None),
    ],
)
def test_unit_names_and_time_are_read_from_a_header(header, unit, names, time_column):
    columns = read_header(header)
    assert (columns.unit, columns.channel_names, columns.time_column) == (unit, names, time_column)


@pytest.mark.parametrize(
    ("header", "code", "named"),
    [
        (["a (mV)", "b (uV)"], "units-differ", "mV, uV"),
        (["a (mV)", "b"], "units-differ", "mV, none"),
        (["time", "a (mV)"], "time-unit-missing", "'time' .*time_s or time_ms"),
        (["time_s", "time_ms", "a (mV)"], "time-columns-several", "time_s, time_ms"),
    ],
)
def test_an_ambiguous_header_is_refused(header, code, named):
    with pytest.raises(RecordingError, match=named) as refused:
        read_header(header)
    assert refused.value.code == code
