"""Hints: what is known of a recording besides its file."""

import re

import numpy as np
import pytest

from voltpipe.recordings.hints import Hints
from voltpipe.recordings.raw.open_recording import open_recording
from voltpipe.recordings.raw.sidecar import read_hints, write_hints
from voltpipe.recordings.recording import RecordingError
from voltpipe.recordings.settings import ConditioningSettings
from voltpipe.recordings.units import mv_per_unit, unit_of


def test_hints_come_back_from_their_sidecar(tmp_path):
    hints = Hints(unit="\N{MICRO SIGN}V", rate_hz=20_000, channel_types=("electrode",), condition="baseline")
    write_hints(tmp_path / "run.1.npy", hints)
    assert (tmp_path / "run.1.yaml").exists()
    assert read_hints(tmp_path / "run.1.npy") == hints


def test_settings_of_the_conditioning_stand_beside_the_hints(tmp_path):
    given = ConditioningSettings(trim_ms=800, common_reference=True)
    write_hints(tmp_path / "run.npy", Hints(unit="uV", conditioning=given))
    assert (tmp_path / "run.yaml").read_text() == "unit: uV\ntrim_ms: 800.0\ncommon_reference: true\n"
    read = read_hints(tmp_path / "run.npy")
    # What is given holds even where it is the default; all else is left to whoever conditions.
    decided = read.conditioning_before(ConditioningSettings(trim_ms=0, lfp_rate_hz=500))
    assert decided == ConditioningSettings(trim_ms=800, lfp_rate_hz=500, common_reference=True)


def test_no_sidecar_gives_no_hints(tmp_path):
    assert read_hints(tmp_path / "run.npy") == Hints()


@pytest.mark.parametrize(
    ("content", "code", "named"),
    [
        ("units: mV\n", "hint-unknown", "units.* unit, rate_hz"),
        ("rate_hz: -5\n", "hint-invalid", ": rate_hz: .* 0"),
        ("trim_ms: -1\n", "hint-invalid", ": trim_ms: .* 0"),
        ("unit: [\n", "sidecar-not-yaml", ""),
        ("just words\n", "sidecar-not-a-mapping", "str"),
    ],
)
def test_a_sidecar_that_makes_no_sense_is_refused(tmp_path, content, code, named):
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(RecordingError, match=rf"run\.yaml.*{named}") as refused:
        read_hints(tmp_path / "run.npy")
    assert refused.value.code == code


def test_an_explicit_hint_goes_before_the_sidecar_and_that_before_the_file(tmp_path, writers, signal_mv):
    path = tmp_path / "run.npz"
    writers["npz"](path, signal_mv)
    assert open_recording(path).rate_hz == 1000
    (tmp_path / "run.yaml").write_text("rate_hz: 2000\ncondition: drug\n")
    assert open_recording(path).rate_hz == 2000
    recording = open_recording(path, rate_hz=3000, unit="uV")
    assert recording.rate_hz == 3000
    assert recording.facts["condition"] == "drug"
    np.testing.assert_allclose(recording.read_mv(0, 10), signal_mv[:10] / 1000, rtol=1e-6)


def test_an_unknown_hint_is_refused(tmp_path, writers, signal_mv):
    path = tmp_path / "run.npz"
    writers["npz"](path, signal_mv)
    with pytest.raises(RecordingError, match=r"hints: .*colour") as refused:
        open_recording(path, colour="red")
    assert refused.value.code == "hint-unknown"


@pytest.mark.parametrize(
    ("hints", "code", "named"),
    [
        ({"exclude_channels": ["z"]}, "channel-unknown", ": z"),
        ({"exclude_channels": ["a", "b", "c"]}, "channels-all-excluded", "`exclude_channels`"),
        ({"channel_types": ["electrode"]}, "channel-count-mismatch", "1 .*types .*3 channels"),
        ({"unit": "furlong"}, "unit-unknown", "'furlong'.* V, mV, uV"),
    ],
)
def test_hints_that_do_not_fit_the_file_are_refused(tmp_path, writers, signal_mv, hints, code, named):
    path = tmp_path / "run.npz"
    writers["npz"](path, signal_mv)
    with pytest.raises(RecordingError, match=rf"run\.npz: .*{named}") as refused:
        open_recording(path, **hints)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("V", 1e3), ("volts", 1e3), ("Volts", 1e3), ("mV", 1.0), (" mv ", 1.0), ("millivolts", 1.0), ("uV", 1e-3),
        ("\N{MICRO SIGN}V", 1e-3), ("\N{GREEK SMALL LETTER MU}V", 1e-3), ("microvolt", 1e-3), ("nV", 1e-6),
    ],
)  # fmt: skip
def test_a_unit_is_a_factor_to_mv(text, factor):
    assert mv_per_unit(text) == factor


@pytest.mark.parametrize("text", ["MV", "A", "counts", "", "mVolt/s"])
def test_an_unknown_unit_is_refused(text):
    with pytest.raises(RecordingError, match=re.escape(repr(text))) as refused:
        mv_per_unit(text)
    assert refused.value.code == "unit-unknown"


def test_a_factor_is_a_unit():
    assert [unit_of(factor) for factor in (1e3, 1.0, 1e-3, 1e-6, 1e-9, 2.0)] == ["V", "mV", "uV", "nV", "pV", None]
